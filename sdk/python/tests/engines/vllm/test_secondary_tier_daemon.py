"""The tier while the daemon is away, dies, comes back or does not answer."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier_metrics import (
    CONNECTED,
    LOOKUPS,
    STORE_BLOCKS,
)
from support.daemon import Daemon
from support.peer_wait import eventually
from support.tier_engine import TierEngine, offload_key, row_of
from support.tier_faults import (
    CASCADE_FAILURES,
    TIER,
    halted,
    some_keys,
    stores,
)


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


@pytest.fixture
def tier(daemon: Daemon) -> dict[str, Any]:
    return {"type": "kvferry", "socket_path": daemon.socket_path}


def test_an_engine_starts_without_a_daemon_and_finds_it_later(
    daemon_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = Daemon(daemon_directory)
    keys = some_keys(0, 4)
    tier = {"type": "kvferry", "socket_path": daemon.socket_path}
    with TierEngine(tier) as engine:
        assert engine.counted(CONNECTED) == 0
        for number in range(3):
            engine.store(f"early{number}", keys)
            engine.forget()
            assert engine.hits(f"again{number}", keys) == 0
        assert engine.counted(STORE_BLOCKS, "away") == 12
        assert engine.counted(LOOKUPS, "away") >= 3
        assert engine.counted(CASCADE_FAILURES, TIER) == 3
        with daemon:
            assert eventually(lambda: engine.counted(CONNECTED) == 1)
            engine.forget()
            engine.store("late", keys)
            engine.forget()
            engine.check("found", keys)


def test_it_says_once_that_the_daemon_is_away(
    daemon_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "kvferry.vllm.secondary_tier_link.logger.warning",
        lambda text, *values: lines.append(text % values),
    )
    daemon = Daemon(daemon_directory)
    tier = {"type": "kvferry", "socket_path": daemon.socket_path}
    with TierEngine(tier) as engine:
        for number in range(4):
            engine.store(f"r{number}", some_keys(4 * number, 4))
        assert len(lines) == 1
        assert "does not answer" in lines[0]
        assert daemon.socket_path in lines[0]


def test_a_daemon_that_comes_back_is_used_again(
    tier: dict[str, Any], daemon: Daemon
) -> None:
    keys = some_keys(0, 4)
    with TierEngine(tier) as engine:
        engine.store("first", keys)
        daemon.kill()
        assert eventually(lambda: engine.counted(CONNECTED) == 0)
        engine.forget()
        engine.store("second", some_keys(10, 4))
        assert engine.counted(CASCADE_FAILURES, TIER) == 1
        daemon.start()
        assert eventually(lambda: engine.counted(CONNECTED) == 1)
        assert eventually(lambda: stores(engine, "third", keys))
        engine.forget()
        engine.check("fourth", keys)


def test_what_is_mapped_is_read_without_the_daemon(
    tier: dict[str, Any], daemon: Daemon
) -> None:
    """Nothing is reused while nobody is there, so a hit is still one."""
    keys = some_keys(0, 4)
    with TierEngine(tier) as engine:
        engine.store("first", keys)
        engine.forget()
        daemon.kill()
        assert eventually(lambda: engine.counted(CONNECTED) == 0)
        engine.check("second", keys)


def test_killed_in_the_middle_of_stores(
    tier: dict[str, Any], daemon: Daemon
) -> None:
    with TierEngine(tier | {"job_timeout_s": 30.0}, rows=64) as engine:
        engine.store("before", some_keys(1000, 1))
        os.kill(daemon.pid, signal.SIGSTOP)
        for job in range(8):
            engine.begin_store(f"r{job}", some_keys(8 * job, 8))
        engine.step()
        assert engine.manager.has_pending_work()
        daemon.kill()
        begun = time.monotonic()
        engine.settle()
        # Before any of the deadlines: a dead daemon is noticed.
        assert time.monotonic() - begun < 15.0
        assert engine.counted(CASCADE_FAILURES, TIER) >= 1
        daemon.start()
        assert eventually(
            lambda: stores(engine, "after", some_keys(0, 8)), timeout=30
        )
        engine.forget()
        engine.check("found", some_keys(0, 8))


def test_restarts_under_load_serve_no_wrong_byte(
    tier: dict[str, Any], daemon: Daemon
) -> None:
    with TierEngine(tier, rows=32) as engine:
        for round_number in range(6):
            keys = some_keys(16 * (round_number % 2), 16)
            engine.forget()
            engine.begin_store(f"s{round_number}", keys)
            if round_number % 2:
                daemon.kill()
                daemon.start()
            engine.settle()
            engine.forget()
            name = f"l{round_number}"
            found = engine.hits(name, keys)
            for key, row in zip(
                keys[:found], engine.read(name, keys[:found]), strict=True
            ):
                assert np.array_equal(row, row_of(key))


def test_a_daemon_that_does_not_answer_holds_nobody_up(
    tier: dict[str, Any], daemon: Daemon
) -> None:
    """The scheduler's calls are quick, and the jobs end by themselves."""
    with TierEngine(tier | {"job_timeout_s": 4.0}) as engine:
        engine.store("first", some_keys(0, 4))
        engine.forget()
        slowest = 0.0
        with halted(daemon):
            for job in range(4):
                begun = time.monotonic()
                engine.begin_store(f"r{job}", some_keys(10 + 4 * job, 4))
                engine.step()
                slowest = max(slowest, time.monotonic() - begun)
            begun = time.monotonic()
            engine.look_up("miss", offload_key(99))
            slowest = max(slowest, time.monotonic() - begun)
            engine.settle(timeout=30)
        assert slowest < 2.0
        assert engine.counted(CASCADE_FAILURES, TIER) >= 1
        assert eventually(
            lambda: stores(engine, "again", some_keys(50, 4)), timeout=30
        )
