"""The tier under vLLM's own tiering manager: what is stored is found again, by
the same engine and by others."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kvferry import Client, Publication
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier_metrics import (
    CONNECTED,
    LOAD_BLOCKS,
    LOOKUPS,
    PINS,
    STORE_BLOCKS,
    WAITING_BLOCKS,
)
from support.daemon import Daemon
from support.peer_process import Peer
from support.peer_wait import eventually
from support.tier_engine import TierEngine, offload_key, row_of
from vllm.v1.kv_offload.base import LookupResult, Medium, get_offload_group_idx


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


@pytest.fixture
def tier(daemon: Daemon) -> dict[str, Any]:
    return {"type": "kvferry", "socket_path": daemon.socket_path}


def _keys(first: int, count: int, group: int = 0) -> list[Any]:
    return [offload_key(first + number, group) for number in range(count)]


class TestOneEngine:
    def test_evicted_blocks_come_back_with_their_bytes(
        self, tier: dict[str, Any]
    ) -> None:
        keys = _keys(0, 8)
        with TierEngine(tier) as engine:
            engine.store("first", keys)
            engine.finish("first")
            engine.forget()
            engine.check("second", keys)
            assert engine.counted(STORE_BLOCKS, "stored") == 8
            assert engine.counted(LOAD_BLOCKS, "loaded") == 8
            assert engine.counted(LOOKUPS, "hit") == 8
            assert engine.counted(CONNECTED) == 1

    def test_a_primary_tier_smaller_than_the_prompts(
        self, tier: dict[str, Any]
    ) -> None:
        """Its own eviction, not the test's, pushes blocks out."""
        with TierEngine(tier, rows=8) as engine:
            for prompt in range(6):
                engine.store(f"p{prompt}", _keys(4 * prompt, 4))
                engine.finish(f"p{prompt}")
            for prompt in range(6):
                engine.check(f"again{prompt}", _keys(4 * prompt, 4))
                engine.finish(f"again{prompt}")
            assert engine.counted(LOAD_BLOCKS, "loaded") >= 16

    def test_a_prompt_hits_as_far_as_it_was_stored(
        self, tier: dict[str, Any]
    ) -> None:
        keys = _keys(0, 6)
        with TierEngine(tier) as engine:
            engine.store("first", keys[:4])
            engine.forget()
            assert engine.hits("second", keys) == 4
            assert engine.counted(LOOKUPS, "miss") >= 1

    def test_blocks_of_one_digest_in_two_groups_are_two_blocks(
        self, tier: dict[str, Any]
    ) -> None:
        groups = (0, 3)
        with TierEngine(tier, group_ids=groups) as engine:
            keys = [offload_key(1, group) for group in groups]
            assert keys[0][:-4] == keys[1][:-4]
            engine.store("first", keys)
            engine.forget()
            engine.check("second", keys)
            assert not np.array_equal(row_of(keys[0]), row_of(keys[1]))
            assert [get_offload_group_idx(key) for key in keys] == [0, 3]

    def test_short_digests_are_keys_too(self, tier: dict[str, Any]) -> None:
        """xxHash's 16 bytes."""
        keys = [bytes(16 - 1) + bytes([i]) + bytes(4) for i in range(4)]
        with TierEngine(tier) as engine:
            engine.store("first", keys)
            engine.forget()
            engine.check("second", keys)

    def test_a_hit_that_no_load_takes_is_released_with_the_step(
        self, tier: dict[str, Any]
    ) -> None:
        """The primary tier is full of what is being stored, so a hit finds no
        room there."""
        with TierEngine(tier, rows=4) as engine:
            engine.store("first", _keys(0, 4))
            engine.forget()
            held = engine.manager.prepare_store(
                _keys(100, 4), engine.request("busy")
            )
            assert held is not None and len(held.keys_to_store) == 4

            answer = engine.look_up("second", offload_key(0))
            assert answer is LookupResult.MISS
            assert engine.counted(PINS) == 1
            assert engine.manager.has_pending_work()
            engine.step()
            assert engine.counted(PINS) == 0

            engine.manager.complete_store(
                held.keys_to_store, engine.request("busy"), success=False
            )
            engine.check("second", _keys(0, 4))

    def test_pins_are_bounded(self, tier: dict[str, Any]) -> None:
        with TierEngine(tier | {"pins_max": 2}) as engine:
            keys = _keys(0, 6)
            engine.store("first", keys)
            engine.forget()
            context = engine.request("second")
            answers = [engine.tier.lookup(key, context) for key in keys]
            assert answers == [LookupResult.HIT] * 2 + [LookupResult.MISS] * 4
            assert engine.counted(LOOKUPS, "pins_full") == 4
            # As vLLM asks, two blocks a step get there as well.
            engine.step()
            engine.check("second", keys)

    def test_touch_leaves_no_pin(self, tier: dict[str, Any]) -> None:
        with TierEngine(tier) as engine:
            keys = _keys(0, 4)
            engine.store("first", keys)
            engine.manager.touch(keys, engine.request("first"))
            engine.manager.touch([], engine.request("first"))
            engine.manager.touch([b"no key"], engine.request("first"))
            assert engine.counted(PINS) == 0

    def test_a_load_filter_that_wants_storage_passes_it_by(
        self, tier: dict[str, Any]
    ) -> None:
        from vllm.v1.kv_offload.base import TierFilter, TierMatcher

        with TierEngine(tier) as engine:
            engine.store("first", _keys(0, 1))
            engine.forget()
            context = engine.request("second")
            context.load_tier_filter = TierFilter(
                (TierMatcher(Medium.STORAGE),)
            )
            answer = engine.look_up("second", offload_key(0))
            assert answer is LookupResult.MISS
            assert engine.counted(LOOKUPS, "hit") == 0


class TestTwoEngines:
    def test_one_finds_what_the_other_stored(
        self, tier: dict[str, Any]
    ) -> None:
        keys = _keys(0, 8)
        with TierEngine(tier) as one, TierEngine(tier) as other:
            one.store("first", keys)
            other.check("second", keys)
            assert other.counted(STORE_BLOCKS, "stored") == 0

    def test_blocks_outlive_their_engine(self, tier: dict[str, Any]) -> None:
        keys = _keys(0, 8)
        with TierEngine(tier) as one:
            one.store("first", keys)
        with TierEngine(tier) as other:
            other.check("second", keys)

    def test_what_is_there_is_a_success_and_not_written_again(
        self, tier: dict[str, Any], daemon: Daemon
    ) -> None:
        keys = _keys(0, 8)
        with TierEngine(tier) as one, TierEngine(tier) as other:
            one.store("first", keys[:6])
            # Another engine computed the same prompt by itself.
            wrong = [np.zeros(other.row_bytes, np.uint8)] * 6
            other.begin_store("second", keys[:6], wrong)
            other.settle()
            other.store("second", keys)
            assert other.counted(STORE_BLOCKS, "exists") == 6
            assert other.counted(STORE_BLOCKS, "stored") == 2
            failed = "vllm:kv_offload_tiering_cascade_job_failures"
            assert other.counted(failed, "1:kvferry") == 0
            one.forget()
            one.check("third", keys)

    def test_a_block_that_is_being_stored_is_waited_for(
        self, tier: dict[str, Any]
    ) -> None:
        key = offload_key(0)
        patient = tier | {"in_flight_wait_s": 30.0}
        with TierEngine(tier) as one, TierEngine(patient) as other:
            with _writer(one) as client:
                publication = client.open_publication()
                _begin(client, publication, key)
                page = publication.page(0)
                assert page is not None

                answer = other.look_up("second", key)
                assert answer is LookupResult.RETRY
                other.step()
                assert other.counted(LOOKUPS, "in_flight") == 1

                np.asarray(page)[:] = row_of(key)
                publication.commit_and_wait(0, 1)
                other.check("second", [key])
                publication.close()

    def test_a_request_waits_only_so_long(self, tier: dict[str, Any]) -> None:
        key = offload_key(0)
        brief = tier | {"in_flight_wait_s": 0.05}
        with TierEngine(brief) as engine, _writer(engine) as client:
            publication = client.open_publication()
            _begin(client, publication, key)
            assert engine.look_up("r", key) is LookupResult.RETRY
            assert engine.hits("r", [key]) == 0
            # Another block of the same request does not wait anew.
            later = offload_key(1)
            _begin(client, publication, later)
            assert engine.look_up("r", later) is LookupResult.MISS
            # Another request does.
            assert engine.look_up("s", later) is LookupResult.RETRY
            # One that vLLM did not announce could wait for ever.
            from vllm.v1.kv_offload.base import ReqContext

            stranger = ReqContext(req_id="stranger")
            assert engine.tier.lookup(key, stranger) is LookupResult.MISS
            publication.abort()

    def test_without_a_wait_it_is_a_miss(self, tier: dict[str, Any]) -> None:
        key = offload_key(0)
        none = tier | {"in_flight_wait_s": 0.0}
        with TierEngine(none) as engine, _writer(engine) as client:
            publication = client.open_publication()
            _begin(client, publication, key)
            assert engine.look_up("r", key) is LookupResult.MISS
            publication.abort()

    def test_a_store_of_a_block_in_flight_succeeds_without_writing(
        self, tier: dict[str, Any]
    ) -> None:
        key = offload_key(0)
        with TierEngine(tier) as engine, _writer(engine) as client:
            publication = client.open_publication()
            _begin(client, publication, key)
            engine.store("r", [key])
            assert engine.counted(STORE_BLOCKS, "in_flight") == 1
            assert engine.counted(WAITING_BLOCKS) == 0
            publication.abort()


class TestOtherProcesses:
    def test_an_engine_that_is_killed_leaves_what_it_stored(
        self, tier: dict[str, Any]
    ) -> None:
        """And nothing half-written: what it was storing can be stored again."""
        keys = _keys(0, 8)
        with TierEngine(tier, rows=64) as mine, Peer("engine") as peer:
            region = peer.ask(_start_engine, tier)
            peer.ask(_store, keys)
            mine.check("first", keys)
            mine.forget()
            peer.ask(_begin_stores, 100, 6)
            peer.kill()
            # Nobody else takes its primary tier away.
            os.unlink(region)
            mine.check("second", keys)
            for job in range(6):
                mine.store(f"again{job}", _keys(100 + 8 * job, 8))
            mine.forget()
            mine.check("third", _keys(100, 48))


def _start_engine(state: SimpleNamespace, tier: dict[str, Any]) -> str:
    """The file of its primary tier."""
    secondary_tier_plugin.register()
    state.engine = TierEngine(tier, rows=64)
    return str(state.engine.region_path)


def _store(state: SimpleNamespace, keys: list[Any]) -> None:
    state.engine.store("first", keys)


def _begin_stores(state: SimpleNamespace, first: int, jobs: int) -> None:
    for job in range(jobs):
        state.engine.begin_store(f"r{job}", _keys(first + 8 * job, 8))


def _writer(engine: TierEngine) -> Client:
    """Another process's session in the engine's namespace."""
    name = engine.manager.config_info()[1]["kvferry_namespace"]
    socket_path = engine.config.extra_config["secondary_tiers"][0][
        "socket_path"
    ]
    return Client(
        str(name), accept_existing=True, create=False, socket_path=socket_path
    )


def _begin(client: Client, publication: Publication, key: bytes) -> None:
    """Begins the block, and waits until everybody can see that: a begin with
    memory at hand does not."""
    name = client.keys_from_digests(key, len(key), cryptographic=False)
    publication.begin(name)
    assert eventually(lambda: client.lookup(name).answer == "ask_again")
