"""The saver: what it makes visible, and what it must not."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kvferry import Client, Publication
from kvferry.vllm.config import ConnectorConfig
from kvferry.vllm.link import DaemonLink, Faults
from kvferry.vllm.metadata import PartBlocks, SaveEntry, pack_ids
from kvferry.vllm.regions import HostPages, pages_of
from kvferry.vllm.saver import SaveJob, Saver
from kvferry.vllm.spec import NamespaceLayout, layout_of
from kvferry.vllm.stats import KVFerryStats
from support.daemon import Daemon
from unit_support import BLOCKS, cache_config, fill_randomly, tensors
from vllm.config import VllmConfig
from vllm.v1.kv_cache_layout import KVCacheLayout

from harness.engine import EngineSpec

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def vllm_config(tmp_path_factory: pytest.TempPathFactory) -> VllmConfig:
    return EngineSpec().build(Path(tmp_path_factory.mktemp("models")))


class SlowPages:
    """Real pages whose copies wait until they are let go."""

    def __init__(self, pages: HostPages) -> None:
        self._pages = pages
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def save(
        self,
        publication: Publication,
        first: int,
        block_ids: bytes,
        mark: object,
    ) -> None:
        self.reached.set()
        assert self.go_on.wait(DEADLINE_S)
        self._pages.save(publication, first, block_ids, mark)


class Bench:
    """A saver with its pages, and a reader."""

    def __init__(self, vllm_config: VllmConfig, daemon: Daemon) -> None:
        config = ConnectorConfig(
            socket_path=daemon.socket_path,
            namespace="saver",
            attach_timeout_ms=2_000,
        )
        caches = cache_config(KVCacheLayout.LBHNC)
        self.layout: NamespaceLayout = layout_of(vllm_config, caches, config)
        self.faults = Faults()
        self.link = DaemonLink(
            self.layout, config, self.faults, publish=True, client_name="w"
        )
        self.link.attach()
        memory = tensors(KVCacheLayout.LBHNC, None)
        fill_randomly(memory, 1)
        pages = pages_of(self.layout, self.layout.parts[0], 0, memory, BLOCKS)
        assert isinstance(pages, HostPages)
        self.pages = SlowPages(pages)
        self.saver = Saver(
            self.layout,
            config,
            [self.pages],  # type: ignore[list-item]
            0,
            self.link,
            self.faults,
        )

    def job(
        self,
        number: int,
        *keys: bytes,
        spoiled: frozenset[str] = frozenset(),
    ) -> None:
        """Each key is a request of one block."""
        self.saver.submit(
            SaveJob(
                number,
                77,
                [
                    SaveEntry(
                        f"r{i}", PartBlocks(0, key, pack_ids([i + 1])), b""
                    )
                    for i, key in enumerate(keys)
                ],
                None,
                spoiled,
            )
        )

    def visible(self, key: bytes) -> bool:
        client = self.link.client
        assert isinstance(client, Client)
        with client.match(key) as prefix:
            return prefix.tokens > 0

    def stats(self) -> dict[str, float]:
        stats = KVFerryStats()
        self.saver.add_stats(stats)
        self.faults.count_into(stats)
        return stats.data

    def close(self) -> None:
        self.pages.go_on.set()
        self.saver.close()
        self.link.close()


@pytest.fixture
def bench(vllm_config: VllmConfig, daemon: Daemon) -> Iterator[Bench]:
    made = Bench(vllm_config, daemon)
    yield made
    made.close()


def test_a_job_is_visible_when_it_is_done(bench: Bench) -> None:
    keys = [os.urandom(16) for _ in range(3)]

    bench.job(1, *keys)

    assert bench.saver.wait(1, DEADLINE_S)
    assert all(bench.visible(key) for key in keys)
    assert bench.saver.take_lost() == set()
    stats = bench.stats()
    assert stats["saved_blocks"] == 3
    assert (
        stats["saved_bytes"] == 3 * bench.layout.parts[0].spec.block_bytes
    )


def test_what_is_there_is_not_written_again(bench: Bench) -> None:
    key = os.urandom(16)
    bench.job(1, key)
    bench.job(2, key)

    assert bench.saver.wait(2, DEADLINE_S)
    stats = bench.stats()
    assert (stats["saved_blocks"], stats["known_blocks"]) == (1, 1)
    assert bench.saver.take_lost() == set()


def test_a_job_that_was_given_up_is_not_visible(bench: Bench) -> None:
    old, new = os.urandom(16), os.urandom(16)
    bench.saver.give_up(1)

    bench.job(1, old)
    bench.job(2, new)

    assert bench.saver.wait(2, DEADLINE_S)
    assert not bench.visible(old)
    assert bench.visible(new)
    assert bench.saver.take_lost() == {(1, 0)}


def test_given_up_in_the_middle_of_a_copy(bench: Bench) -> None:
    """As when the blocks are overwritten while they are read."""
    keys = [os.urandom(16) for _ in range(2)]
    bench.pages.go_on.clear()
    bench.job(1, *keys)
    assert bench.pages.reached.wait(DEADLINE_S)

    bench.saver.fence(1)  # its patience is over before the copy goes on
    bench.pages.go_on.set()

    assert bench.saver.wait(1, DEADLINE_S)
    assert not any(bench.visible(key) for key in keys)
    assert bench.saver.take_lost() == {(1, 0), (1, 1)}
    # The same blocks can be saved by a later job.
    bench.job(2, *keys)
    assert bench.saver.wait(2, DEADLINE_S)
    assert all(bench.visible(key) for key in keys)


def test_a_fence_waits_for_what_is_nearly_done(bench: Bench) -> None:
    key = os.urandom(16)
    bench.job(1, key)

    bench.saver.wait(1, DEADLINE_S)
    bench.saver.fence(1)

    assert bench.visible(key)
    assert bench.saver.take_lost() == set()


def test_nothing_reads_pages_after_quiesce(bench: Bench) -> None:
    keys = [os.urandom(16) for _ in range(4)]
    for number, key in enumerate(keys, 1):
        bench.job(number, key)

    assert bench.saver.quiesce()

    assert bench.saver.done_job == 4
    assert all(bench.visible(key) for key in keys)


def test_a_bad_job_fails_alone(bench: Bench) -> None:
    good, later = os.urandom(16), os.urandom(16)

    bench.job(1, good, b"fifteen bytes..")
    bench.job(2, later)

    assert bench.saver.wait(2, DEADLINE_S)
    assert bench.visible(later)
    lost = bench.saver.take_lost()
    assert (1, 1) in lost and not any(job == 2 for job, _ in lost)
    assert bench.stats()["faults"] == 1


def test_blocks_of_a_spoiled_request_are_not_committed(bench: Bench) -> None:
    keys = [os.urandom(16) for _ in range(3)]

    bench.job(1, *keys, spoiled=frozenset({"r1"}))

    assert bench.saver.wait(1, DEADLINE_S)
    assert [bench.visible(key) for key in keys] == [True, False, True]
    assert bench.saver.take_lost() == {(1, 1)}


def test_without_a_daemon_a_job_is_lost_at_once(
    bench: Bench, daemon: Daemon
) -> None:
    daemon.kill()

    bench.job(1, os.urandom(16), os.urandom(16))

    assert bench.saver.wait(1, DEADLINE_S)
    assert bench.saver.take_lost() == {(1, 0), (1, 1)}
