#!/usr/bin/env python3
"""The connector's calls in vLLM's scheduler, for a long prompt that hits.

usage: vllm_scheduler.py [--json] [--tokens N] [--rounds N] [--check]

vLLM's own engine core, scheduler and cache manager make the calls, in their
own order; the workers are those of the tests. Goal: the three calls together
take 10 us and 40 ns a key. A second series of rounds measures the compiled
calls among them, the rest is Python's share. $KVFERRYD is the daemon.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_TESTS = _HERE.parent / "tests"
sys.path[:0] = [str(_TESTS), str(_TESTS / "engines" / "vllm")]

import harness.environment  # noqa: E402, F401
from harness.engine import Engine  # noqa: E402
from harness.models import ModelShape  # noqa: E402
from harness.prompts import prompt  # noqa: E402
from harness.references import References  # noqa: E402
from harness.site import Site  # noqa: E402
from row import HEADER, Row, median  # noqa: E402
from stage import measuring_processor, running_daemon  # noqa: E402

_BLOCK = 16
_GOAL_NS = 10_000
_GOAL_NS_A_KEY = 40
# Bytes do not matter here, tokens do: the smallest pages there are.
_SHAPE = ModelShape("bench", (None,), head_count=1, head_size=8)
_CALLS = (
    "get_num_new_matched_tokens",
    "update_state_after_alloc",
    "build_connector_meta",
)


@dataclass
class Stopwatch:
    """Nanoseconds of each call, in the round that runs."""

    taken: dict[str, int] = field(default_factory=dict)

    def around(self, name: str, call: Callable[..., Any]) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter_ns()
            answer = call(*arguments, **named)
            end = time.perf_counter_ns()
            self.taken[name] = self.taken.get(name, 0) + end - begin
            return answer

        return timed


class TimedClient:
    """The connector's client, each of its calls measured."""

    def __init__(self, client: Any, watch: Stopwatch) -> None:
        self._client = client
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return (
            self._watch.around("compiled", value) if callable(value) else value
        )


def _watch_calls(engine: Engine, watch: Stopwatch) -> None:
    connector = engine.scheduler.connector
    for name in _CALLS:
        setattr(connector, name, watch.around(name, getattr(connector, name)))


def _round(
    engine: Engine, name: str, text: list[int], watch: Stopwatch
) -> dict[str, int]:
    engine.forget()
    engine.add(name, text, 1)
    watch.taken.clear()
    engine.step()  # Matched, allocated, planned.
    taken = dict(watch.taken)
    engine.run()
    hit = engine.outputs[name].external_tokens
    if hit != len(text) - 1:
        raise AssertionError(f"{hit} tokens hit, not {len(text) - 1}")
    return taken


def _percentile(samples: list[int], share: float) -> float:
    return float(
        sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]
    )


def _rows(
    plain: list[dict[str, int]], split: list[dict[str, int]], keys: int
) -> list[Row]:
    rows = []
    for name in _CALLS:
        samples = [taken[name] for taken in plain]
        rows.append(
            Row(
                "vllm",
                name,
                median(samples) / 1e3,
                "us",
                more={
                    "p99_us": _percentile(samples, 0.99) / 1e3,
                    "min_us": min(samples) / 1e3,
                },
            )  # fmt: skip
        )
    sums = [sum(taken[name] for name in _CALLS) for taken in plain]
    inner = [taken.get("compiled", 0) for taken in split]
    outer = [
        sum(taken[name] for name in _CALLS) - taken.get("compiled", 0)
        for taken in split
    ]
    rows.append(
        Row(
            "vllm",
            "the three calls",
            median(sums) / 1e3,
            "us",
            at_most=(_GOAL_NS + _GOAL_NS_A_KEY * keys) / 1e3,
            more={
                "p99_us": _percentile(sums, 0.99) / 1e3,
                "min_us": min(sums) / 1e3,
                "keys": keys,
                "compiled_us": median(inner) / 1e3,
                "python_us": median(outer) / 1e3,
            },
        )  # fmt: skip
    )
    return rows


def _run(tokens: int, rounds: int) -> list[Row]:
    keys = tokens // _BLOCK
    text = prompt(1, tokens + 1)
    with (
        tempfile.TemporaryDirectory() as models,
        running_daemon("256 MiB") as daemon,
    ):
        site = Site(daemon, Path(models), References(Path(models)))
        engine = site.engine(
            shape=_SHAPE,
            blocks=2 * keys + 64,
            max_tokens=tokens + 64,
            chunk_tokens=8192,
        )
        engine.generate({"cold": text}, 1)
        site.settle(engine)
        watch = Stopwatch()
        _watch_calls(engine, watch)
        with measuring_processor():
            plain = [
                _round(engine, f"plain-{i}", text, watch)
                for i in range(rounds + 1)
            ]
            link = engine.scheduler.connector._scheduler._link
            link.client = TimedClient(link.client, watch)
            split = [
                _round(engine, f"split-{i}", text, watch)
                for i in range(rounds + 1)
            ]
            link.client = link.client._client
        site.close()
    return _rows(plain[1:], split[1:], keys)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    rows = _run(arguments.tokens, arguments.rounds)
    if not arguments.json:
        print(HEADER)
    for row in rows:
        print(row.json() if arguments.json else row.line())
    good = all(row.good is not False for row in rows)
    return 1 if arguments.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
