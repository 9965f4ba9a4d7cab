"""Random lives of two engines and their daemon against a plain dictionary."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kvferry import Admin
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier_metrics import STORE_BLOCKS
from kvferry.vllm.secondary_tier_transfer import GOOD_STORES
from support.daemon import Daemon
from support.peer_wait import eventually, seeded
from support.tier_engine import TierEngine, offload_key, row_of

PROMPTS = 24
BLOCKS_PER_PROMPT = 4
ROWS = 16
STEPS = 120


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


def _prompt(number: int) -> list[Any]:
    first = number * BLOCKS_PER_PROMPT
    return [offload_key(first + i) for i in range(BLOCKS_PER_PROMPT)]


class Life:
    """Two engines, and what must be in KVFerry: `there` surely is."""

    def __init__(self, daemon: Daemon, seed: int, mortal: bool) -> None:
        self.mortal = mortal
        self.random = seeded(seed)
        self.daemon = daemon
        tier = {"type": "kvferry", "socket_path": daemon.socket_path}
        self.engines = [TierEngine(dict(tier), rows=ROWS) for _ in range(2)]
        self.there: set[bytes] = set()
        self.stored: set[bytes] = set()
        self.serial = 0

    def name(self) -> str:
        self.serial += 1
        return f"r{self.serial}"

    def store(self) -> None:
        engine = self.random.choice(self.engines)
        keys = _prompt(self.random.randrange(PROMPTS))
        keys = keys[: self.random.randint(1, len(keys))]
        request = self.name()
        self.stored.update(keys)
        before = self.good_stores(engine)
        # What the primary tier has was given to KVFerry then, or came from it.
        new = engine.begin_store(request, keys)
        engine.settle()
        engine.finish(request)
        if self.good_stores(engine) - before == len(new):
            self.there.update(new)
        else:
            assert self.mortal, "a store failed with the daemon there"

    @staticmethod
    def good_stores(engine: TierEngine) -> int:
        return sum(
            engine.counted(STORE_BLOCKS, label) for label in GOOD_STORES
        )

    def store_both(self) -> None:
        """The same prompt at the same time."""
        keys = _prompt(self.random.randrange(PROMPTS))
        requests = [self.name() for _ in self.engines]
        for engine, request in zip(self.engines, requests, strict=True):
            self.there.update(engine.begin_store(request, keys))
        for engine, request in zip(self.engines, requests, strict=True):
            engine.settle()
            engine.finish(request)
        self.stored.update(keys)

    def load(self) -> None:
        engine = self.random.choice(self.engines)
        keys = _prompt(self.random.randrange(PROMPTS))
        request = self.name()
        found = engine.hits(request, keys)
        expected = 0
        while expected < len(keys) and keys[expected] in self.there:
            expected += 1
        assert found >= expected, (found, expected)
        assert self.stored.issuperset(keys[:found])
        for key, row in zip(
            keys[:found], engine.read(request, keys[:found]), strict=True
        ):
            assert np.array_equal(row, row_of(key))
        engine.finish(request)

    def forget(self) -> None:
        self.random.choice(self.engines).forget()

    def reset(self) -> None:
        """New weights everywhere."""
        for engine in self.engines:
            engine.manager.reset_cache()
            engine.manager.on_reset_flushed()
        assert eventually(
            lambda: not any(e.tier._link.clearing for e in self.engines)
        )
        self.there.clear()
        self.stored.clear()

    def restart(self) -> None:
        """What was there may be lost; what is found is right all the same."""
        self.daemon.kill()
        self.daemon.start()
        self.there.clear()

    def stores_again(self) -> bool:
        self.store()
        return bool(self.there)

    def end(self) -> None:
        for engine in self.engines:
            engine.settle()
            assert engine.tier._pins == {}
            assert engine.tier._requests == {}
            assert not engine.manager._jobs
            for label in ("error", "fault", "void", "bad_key"):
                assert engine.counted(STORE_BLOCKS, label) == 0, label
        with Admin(self.daemon.socket_path) as admin:
            sessions = admin.sessions()
        assert len(sessions) == 2
        for session in sessions:
            assert session["pinned_blocks"] == 0
            assert session["publications"] == 0
        for engine in self.engines:
            engine.shutdown()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_found_was_stored_and_what_was_stored_is_found(
    daemon: Daemon, seed: int
) -> None:
    life = Life(daemon, seed, mortal=False)
    try:
        actions = [life.store, life.load, life.store_both, life.forget]
        weights = [4, 8, 1, 2]
        for _ in range(STEPS):
            life.random.choices(actions, weights)[0]()
            if life.random.random() < 0.02:
                life.reset()
        life.end()
    finally:
        for engine in life.engines:
            engine.shutdown()


@pytest.mark.parametrize("seed", [4, 5])
def test_the_same_with_a_daemon_that_dies(
    daemon_directory: Path, seed: int
) -> None:
    with Daemon(daemon_directory) as daemon:
        life = Life(daemon, seed, mortal=True)
        try:
            actions = [life.store, life.load, life.forget, life.restart]
            weights = [4, 8, 2, 0.5]
            for _ in range(STEPS // 2):
                life.random.choices(actions, weights)[0]()
            life.restart()
            assert eventually(life.stores_again)
            for _ in range(2 * PROMPTS):
                life.load()
        finally:
            for engine in life.engines:
                engine.shutdown()
