"""Random engines, prompts, chunks and faults; KVFERRY_VLLM_SEEDS has how
many seeds, KVFERRY_VLLM_SEED the first. A failed one says its seed."""

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from vllm.v1.core.sched.output import SchedulerOutput

from harness.engine import Engine
from harness.models import HYBRID, LATENT, LLAMA
from harness.prompts import prompt
from harness.site import NAMESPACE, Site

FIRST = int(os.environ.get("KVFERRY_VLLM_SEED", "0"))
COUNT = int(os.environ.get("KVFERRY_VLLM_SEEDS", "24"))


class Weather:
    """Strikes at random steps of any engine."""

    def __init__(self, site: Site, numbers: random.Random) -> None:
        self._site = site
        self._numbers = numbers
        self._rate = numbers.choice((0.0, 0.03, 0.1))
        self._faults: list[tuple[str, Callable[[], object]]] = [
            ("kill", site.daemon.kill),
            ("restart", site.daemon.restart),
            ("stop", site.daemon.stop),
            ("evict", self._evict),
            ("clear", self._clear),
        ]
        self.struck: list[str] = []

    def step(self, engine: Engine) -> None:
        if self._numbers.random() >= self._rate:
            return
        if not self._site.daemon.running:
            self._site.daemon.start()
            self.struck.append("start")
            return
        name, fault = self._numbers.choice(self._faults)
        fault()
        self.struck.append(name)

    def spoil(self, output: SchedulerOutput) -> None:
        """A block is gone between the scheduler and the workers."""
        metadata: Any = output.kv_connector_metadata
        if metadata.loads and self._numbers.random() < self._rate * 3:
            part = self._numbers.choice(metadata.loads[0].parts)
            where = self._numbers.randrange(len(part.keys) // 16) * 16
            part.keys = part.keys[:where] + bytes(16) + part.keys[where + 16 :]
            self.struck.append("spoil")

    def _evict(self) -> None:
        with self._site.admin() as admin:
            if any(n["name"] == NAMESPACE for n in admin.namespaces()):
                admin.evict(NAMESPACE, limit=self._numbers.randrange(1, 40))

    def _clear(self) -> None:
        with self._site.admin() as admin:
            if any(n["name"] == NAMESPACE for n in admin.namespaces()):
                admin.clear(NAMESPACE)


def random_engine(site: Site, numbers: random.Random, **fixed: Any) -> Engine:
    few = numbers.random() < 0.5
    return site.engine(
        numbers.choice(("async", "async", "sync")),
        blocks=numbers.randrange(70, 120) if few else 500,
        max_tokens=512 if not few else 400,
        reserve_whole=numbers.random() < 0.5,
        chunk_tokens=numbers.choice((16, 33, 64, 100, 256)),
        sequences=numbers.choice((2, 5, 16)),
        layout=numbers.choice(("LBHNC", "LBNHC", "BLHNC", "BHLNC")),
        second_runner=numbers.random() < 0.5,
        ahead=not few and numbers.random() < 0.5,
        local_cache=numbers.random() < 0.8,
        layer_hooks=numbers.random() < 0.5,
        connector={
            "wait_in_flight_ms": numbers.choice((0, 0, 50)),
            "save_backlog": numbers.choice((0.05, 0.25)),
            "load_threads": numbers.choice((1, 3)),
            "slice_count": 4 if fixed["shape"] is not LATENT else 1,
            "stall_timeout_ms": 1000,
        },
        **fixed,
    )


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random(site: Site, seed: int) -> None:
    numbers = random.Random(seed)
    print(f"KVFERRY_VLLM_SEED={seed}")
    shape = numbers.choice((LLAMA, LLAMA, HYBRID, HYBRID, LATENT))
    weather = Weather(site, numbers)
    engines = [
        random_engine(
            site, numbers, shape=shape, tp_size=numbers.choice((1, 1, 2))
        )
        for _ in range(2)
    ]
    heads = [
        prompt(seed * 10 + i, numbers.randrange(20, 150)) for i in range(3)
    ]
    texts: dict[str, list[int]] = {}
    spoilable: set[str] = set()
    for engine in engines:
        engine.before_step = weather.spoil

    def arrive(count: int) -> None:
        for _ in range(count):
            name = f"r{len(texts)}"
            tail = prompt(seed * 1000 + len(texts), numbers.randrange(1, 120))
            texts[name] = numbers.choice(heads) + tail
            numbers.choice(engines).add(name, texts[name], 10)

    deadline = time.monotonic() + 60
    for _ in range(4):
        arrive(6)
        while any(engine.busy() for engine in engines):
            if time.monotonic() > deadline:
                left = [engine.describe() for engine in engines]
                raise TimeoutError(f"{left} after {weather.struck}")
            engine = numbers.choice(engines)
            weather.step(engine)
            if engine.busy():
                engine.step()
            if numbers.random() < 0.02:
                running = list(engine.scheduler.requests)
                if running:
                    name = numbers.choice(running)
                    spoilable.add(name)
                    engine.core.abort_requests([name])
            if numbers.random() < 0.05 and len(texts) < 40:
                arrive(1)
        for engine in engines:
            if numbers.random() < 0.5:
                engine.forget()

    for engine in engines:
        names = [n for n in engine.outputs if n not in spoilable]
        site.expect(engine, texts, 10, names=names)
        # A load before a forward may fail after it was begun: what the
        # forward read then is thrown away. Nothing else reads wrong pages.
        load = engine.config.kv_transfer_config.kv_connector_extra_config
        if load["kvferry.load"] == "async":
            assert engine.deviations() == []
    print(f"struck: {weather.struck}")
    print(f"loaded: {[e.external_tokens(e.outputs) for e in engines]}")
    if not site.daemon.running:
        site.daemon.start()
