"""The tier when something else than the daemon is wrong: the pool, the keys,
the time. The engine goes on, every job ends, and no wrong byte is served."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from kvferry import Client
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier_metrics import (
    CLEARS,
    CONNECTED,
    LOAD_BLOCKS,
    LOOKUPS,
    STORE_BLOCKS,
)
from support.daemon import Daemon
from support.peer_wait import eventually
from support.tier_engine import TierEngine, offload_key
from support.tier_faults import (
    CASCADE_FAILURES,
    PROMOTION_FAILURES,
    TIER,
    halted,
    some_keys,
    stores,
)
from vllm.v1.kv_offload.base import LookupResult
from vllm.v1.kv_offload.tiering.base import JobResult


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


@pytest.fixture
def tier(daemon: Daemon) -> dict[str, Any]:
    return {"type": "kvferry", "socket_path": daemon.socket_path}


class TestMemory:
    def test_a_pool_that_is_full_evicts_and_goes_on(
        self, daemon_directory: Path
    ) -> None:
        """More than the pool is stored; what is found has its bytes."""
        row_bytes = 1 << 20
        with Daemon(daemon_directory, pool="32 MiB") as daemon:
            tier = {"type": "kvferry", "socket_path": daemon.socket_path}
            with TierEngine(tier, rows=8, row_bytes=row_bytes) as engine:
                for number in range(16):
                    engine.store(f"r{number}", some_keys(8 * number, 8))
                    engine.finish(f"r{number}")
                assert engine.counted(STORE_BLOCKS, "stored") > 32
                engine.forget()
                found = sum(
                    engine.hits(f"l{n}", [offload_key(n)]) for n in range(128)
                )
                assert 0 < found < 128
                newest = some_keys(8 * 15, 8)
                engine.check("newest", newest)

    def test_a_pool_that_others_hold_is_a_failed_store(
        self, daemon_directory: Path
    ) -> None:
        """Everything is pinned, so there is nothing to evict."""
        row_bytes = 1 << 20
        with Daemon(daemon_directory, pool="32 MiB") as daemon:
            tier = {"type": "kvferry", "socket_path": daemon.socket_path}
            with TierEngine(tier, rows=8, row_bytes=row_bytes) as engine:
                holder = Client(
                    str(engine.manager.config_info()[1]["kvferry_namespace"]),
                    accept_existing=True,
                    socket_path=daemon.socket_path,
                )
                held = []
                for number in range(64):
                    key = offload_key(number)
                    engine.store(f"r{number}", [key])
                    engine.finish(f"r{number}")
                    name = holder.keys_from_digests(
                        key, len(key), cryptographic=False
                    )
                    held.append(holder.match(name))
                    if engine.counted(STORE_BLOCKS, "no_space"):
                        break
                assert engine.counted(STORE_BLOCKS, "no_space") >= 1
                assert engine.counted(CASCADE_FAILURES, TIER) >= 1
                for prefix in held:
                    prefix.release()
                assert eventually(
                    lambda: stores(engine, "later", some_keys(500, 1))
                )
                holder.close()


class TestKeys:
    BAD = [
        b"",
        b"x" * 4,
        b"x" * 19,
        b"x" * 69,
        offload_key(0)[:-4] + (7).to_bytes(4, "big"),
        offload_key(0)[:-4] + b"\xff\xff\xff\xff",
    ]

    @pytest.mark.parametrize("key", BAD, ids=lambda key: f"{len(key)}B")
    def test_what_is_no_key_of_this_engine_is_a_miss(
        self, tier: dict[str, Any], key: Any
    ) -> None:
        with TierEngine(tier) as engine:
            engine.store("first", some_keys(0, 1))
            assert engine.look_up("second", key) is LookupResult.MISS
            assert engine.counted(LOOKUPS, "bad_key") == 1

    def test_bad_keys_among_good_ones_fail_alone(
        self, tier: dict[str, Any]
    ) -> None:
        good = some_keys(0, 4)
        with TierEngine(tier) as engine:
            engine.store("first", [good[0], self.BAD[1], *good[1:]])
            assert engine.counted(STORE_BLOCKS, "bad_key") == 1
            assert engine.counted(STORE_BLOCKS, "stored") == 4
            assert engine.counted(CASCADE_FAILURES, TIER) == 1
            engine.forget()
            engine.check("second", good)

    def test_one_flipped_bit_is_another_block(
        self, tier: dict[str, Any]
    ) -> None:
        key = offload_key(0)
        with TierEngine(tier) as engine:
            engine.store("first", [key])
            engine.forget()
            for bit in range(0, 8 * (len(key) - 4), 17):
                number = int.from_bytes(key[:-4], "big") ^ (1 << bit)
                other: Any = number.to_bytes(len(key) - 4, "big") + key[-4:]
                assert engine.look_up("r", other) is LookupResult.MISS


class TestLoads:
    def test_a_block_that_is_lost_between_lookup_and_load_is_computed(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        """Its pin is taken away, as for a session the daemon gave up. The
        rest of the load is kept; and the request, which would find the block
        again, does not ask for it a second time."""
        keys = some_keys(0, 4)
        with TierEngine(tier) as engine:
            engine.store("first", keys)
            engine.forget()
            for key in keys:
                engine.look_up("second", key)
            engine.tier._pins.pop(keys[2]).release()
            with Client(
                str(engine.manager.config_info()[1]["kvferry_namespace"]),
                accept_existing=True,
                socket_path=daemon.socket_path,
            ) as other:
                other.clear()
            engine.step()
            engine.settle()
            assert engine.counted(PROMOTION_FAILURES, TIER) == 1
            assert engine.counted(LOAD_BLOCKS, "gone") == 1
            assert engine.counted(LOAD_BLOCKS, "loaded") == 3
            assert engine.hits("second", keys) == 2
            engine.store("third", [keys[2]])
            engine.manager.primary_tier.reset_cache()
            assert engine.hits("second", [keys[2]]) == 0
            assert engine.counted(LOOKUPS, "failed_before") >= 1
            engine.check("fourth", [keys[2]])

    def test_failed_marks_go_with_the_request(
        self, tier: dict[str, Any]
    ) -> None:
        with TierEngine(tier) as engine:
            context = engine.request("r")
            engine.tier._requests["r"].failed.add(offload_key(0))
            assert engine.tier.lookup(offload_key(0), context) is (
                LookupResult.MISS
            )
            engine.finish("r")
            assert engine.tier._requests == {}


class TestPressure:
    def test_stores_beyond_the_queue_fail_at_once(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        narrow = tier | {"store_queue_blocks": 4, "threads": 1}
        with TierEngine(narrow, rows=32) as engine:
            engine.store("first", some_keys(1000, 1))
            with halted(daemon):
                for job in range(6):
                    engine.begin_store(f"r{job}", some_keys(4 * job, 4))
                    assert engine.tier._mover.waiting_blocks <= 4
                # One runs, one waits, four came to a full queue.
                engine.step()
                assert engine.counted(STORE_BLOCKS, "queue_full") >= 16
            engine.settle()
            failures = engine.counted(CASCADE_FAILURES, TIER)
            assert engine.counted(STORE_BLOCKS, "queue_full") == 4 * failures
            # Nothing of the primary tier stays held.
            engine.store("all", some_keys(500, 32))

    def test_vllms_own_detector_sees_the_failures(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        pressed = tier | {
            "store_queue_blocks": 1,
            "threads": 1,
            "backpressure": {
                "backpressure_cls": "EMABackpressureDetector",
                "policy_cls": "DropStorePolicy",
            },
        }
        with TierEngine(pressed, rows=32) as engine:
            assert engine.tier.bp_detector is not None
            engine.store("first", some_keys(0, 4))
            assert engine.tier.bp_detector.stats

    def test_shutdown_with_jobs_under_way(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        keys = some_keys(0, 8)
        engine = TierEngine(tier | {"job_timeout_s": 1.0}, rows=64)
        engine.store("first", keys)
        engine.forget()
        with halted(daemon):
            for key in keys:
                engine.look_up("second", key)
            engine.step()
            for job in range(6):
                engine.begin_store(f"r{job}", some_keys(10 + 4 * job, 4))
            begun = time.monotonic()
            engine.shutdown()
            assert time.monotonic() - begun < 8.0
        # Each ends once, and the region could be given back.
        results = list(engine.tier.get_finished_jobs())
        assert len({result.job_id for result in results}) == len(results)
        assert len(results) == len(engine.manager._jobs)
        assert all(isinstance(result, JobResult) for result in results)
        assert not os.path.exists(engine.region_path)
        # A second shutdown does nothing.
        engine.tier.shutdown()


class TestReset:
    def test_a_reset_clears_the_namespace_for_everybody(
        self, tier: dict[str, Any]
    ) -> None:
        keys = some_keys(0, 4)
        with TierEngine(tier) as one, TierEngine(tier) as other:
            one.store("first", keys)
            _reset(one)
            assert eventually(lambda: one.counted(CLEARS) == 1)
            assert one.hits("second", keys) == 0
            assert other.hits("second", keys) == 0
            one.store("third", keys)
            other.check("third", keys)

    def test_old_blocks_are_not_found_while_the_daemon_is_away(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        """New weights, and nobody there to clear the old blocks: they are in
        memory still, and must not be used."""
        keys = some_keys(0, 4)
        with TierEngine(tier) as engine:
            engine.store("first", keys)
            daemon.kill()
            assert eventually(lambda: engine.counted(CONNECTED) == 0)
            _reset(engine)
            assert engine.hits("second", keys) == 0
            assert engine.counted(LOOKUPS, "clearing") >= 1
            engine.store("third", keys)
            assert engine.counted(STORE_BLOCKS, "clearing") == 4
            daemon.start()
            assert eventually(lambda: engine.counted(CLEARS) == 1)
            engine.forget()
            assert engine.hits("fourth", keys) == 0

    def test_a_reset_waits_for_what_runs(self, tier: dict[str, Any]) -> None:
        with TierEngine(tier, rows=64) as engine:
            for job in range(8):
                engine.begin_store(f"r{job}", some_keys(8 * job, 8))
            _reset(engine)
            assert not engine.manager._jobs
            assert eventually(lambda: engine.counted(CLEARS) == 1)

    def test_if_told_so_a_reset_leaves_the_namespace(
        self, tier: dict[str, Any]
    ) -> None:
        keys = some_keys(0, 4)
        with TierEngine(tier | {"clear_on_reset": False}) as engine:
            engine.store("first", keys)
            _reset(engine)
            engine.check("second", keys)
            assert engine.counted(CLEARS) == 0


def _reset(engine: TierEngine) -> None:
    """As vLLM's scheduler has it when nothing is under way in the workers."""
    engine.manager.reset_cache()
    engine.manager.on_reset_flushed()
