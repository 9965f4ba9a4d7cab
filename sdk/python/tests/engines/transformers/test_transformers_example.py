"""The example's programs, by their one command."""

import json
import subprocess
import sys

import pytest
import torch

SECONDS_MAX = 240


def run(example, daemon, *arguments):
    done = subprocess.run(
        [sys.executable, example / "run.py", "--socket", daemon.socket_path,
         *arguments],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        (("--model", "gpt-oss"), 2),
        (("--model", "llama", "--ranks", "2"), 1),
    ],
    ids=["gpt-oss", "llama-2-ranks"],
)
def test_the_example_runs(daemon, example, arguments, groups):
    output = run(example, daemon, *arguments, "--json")

    *prefills, decode = [json.loads(line) for line in output.splitlines()]
    pids = {run["pid"] for run in (*prefills, decode)}
    assert len(pids) == 1 + len(prefills)
    for prefill in prefills:
        assert prefill["fed_tokens"] == 300
        assert prefill["published_blocks"] == groups * 18
    assert decode["cached_tokens"] == 288
    assert decode["fed_tokens"] == 12 + 23
    assert decode["fed_tokens_without"] == 300 + 23
    assert decode["tokens_equal"]
    assert decode["margin"] > 1e-6
    assert decode["logit_difference"] < 1e-9


# The way that a GPU's run goes, on the CPU.
def test_the_example_says_what_it_did(daemon, example):
    output = run(
        example, daemon, "--model", "gpt-oss", "--dtype", "bfloat16"
    )

    assert "hit 288 of 300 tokens" in output
    assert "24 new tokens equal" in output


def test_the_example_needs_a_daemon(daemon, example):
    daemon.stop()

    done = subprocess.run(
        [sys.executable, example / "run.py", "--socket",
         daemon.socket_path + ".none"],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "no daemon at" in done.stderr


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device"
)
@pytest.mark.parametrize("model", ["llama", "gpt-oss"])
def test_the_example_runs_on_a_gpu(daemon, example, model):
    output = run(
        example, daemon, "--model", model, "--device", "cuda", "--dtype",
        "bfloat16", "--json",
    )  # fmt: skip

    prefill, decode = [json.loads(line) for line in output.splitlines()]
    assert prefill["published_blocks"] > 0
    assert decode["cached_tokens"] == 288
    assert decode["fed_tokens"] == 12 + 23
    assert decode["tokens_equal"]
