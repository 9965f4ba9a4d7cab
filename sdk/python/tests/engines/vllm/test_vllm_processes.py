"""Engines and workers in processes of their own, forked and spawned."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site

HERE = Path(__file__).parent


def python_path() -> str:
    """Where a new process finds what this one has imported."""
    return os.pathsep.join(path for path in sys.path if path)


def test_another_process_takes_over(site: Site, models: Path) -> None:
    """The hashes' root is the same there, so prompts have the same keys."""
    text = family(150, 100, (0, 20, 60))
    runs: list[dict[str, Any]] = []
    for shape in (LLAMA, HYBRID, LATENT):
        namespace = {"namespace": f"process-{shape.name}"}
        engine = site.engine(shape=shape, connector=namespace)
        engine.generate(text, 6)
        site.settle(engine)
        runs.append(
            {
                "shape": shape.name,
                "connector": site.connector(**namespace),
                "prompts": text,
                "max_tokens": 6,
            }
        )
    job = models / "job.json"
    job.write_text(json.dumps({"models": str(models), "runs": runs}))

    done = subprocess.run(
        [sys.executable, "-m", "harness.engine_process", str(job)],
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    for shape, answer in zip((LLAMA, HYBRID, LATENT), answers, strict=True):
        expected = site.references.tokens(text, 6, shape)
        assert answer["tokens"] == expected
        assert answer["external"] == 96 + 112 + 144
        assert answer["deviations"] == []


@pytest.mark.parametrize(
    "method, shape", [("fork", HYBRID), ("spawn", LLAMA)], ids=["fork", "spawn"]
)
def test_workers_in_processes(
    site: Site,
    method: str,
    shape: ModelShape,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """vLLM's own executor and groups, two ranks. Another engine of this
    process is attached when the workers start."""
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", method)
    monkeypatch.setenv("PYTHONPATH", python_path())
    text = family(151, 80, (10, 60, 120)) | {"short": prompt(152, 30)}
    neighbour = site.engine(shape=shape, tp_size=2)
    neighbour.generate({"p0": text["p0"]})
    site.settle(neighbour)
    engine = site.engine(
        shape=shape,
        tp_size=2,
        worker="harness.worker.DistributedFakeWorker",
        executor=MultiprocExecutor,
    )

    engine.generate(text)
    site.expect(engine, text)
    # What the neighbour wrote is there for these ranks.
    assert engine.outputs["p0"].external_tokens == 80
    site.settle(engine)
    engine.forget()
    again = {f"{name}-2": tokens for name, tokens in text.items()}
    engine.generate(again)

    site.expect(engine, again)
    assert engine.external_tokens(again) == 80 + 128 + 192 + 16
    found = engine.core.model_executor.collective_rpc("take_deviations")
    assert found == [[], []]


def test_a_worker_process_dies(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds pins and an open publication no longer: the daemon takes them
    back by itself."""
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    engine = site.engine(
        worker="harness.worker.DistributedFakeWorker",
        executor=MultiprocExecutor,
    )
    text = {"a": prompt(153, 150)}
    engine.generate(text)
    worker: Any = engine.core.model_executor.workers[0]  # type: ignore
    worker.proc.kill()
    worker.proc.join(20)
    site.engines.remove(engine)
    engine.core.scheduler.shutdown()
    engine.core.model_executor.shutdown()

    other = site.engine()
    other.generate(text)

    site.expect(other, text)
