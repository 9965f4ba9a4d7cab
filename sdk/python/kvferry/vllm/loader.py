"""Brings blocks from the namespace into the engine's pages."""

import queue
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvferry import Prefix
from kvferry.vllm.link import DaemonLink, Faults
from kvferry.vllm.metadata import (
    ID_BYTES,
    NO_BLOCK,
    NULL_BLOCK,
    LoadRequest,
    PartBlocks,
    pack_ids,
    unpack_ids,
)
from kvferry.vllm.stats import KVFerryStats

if TYPE_CHECKING:
    from kvferry.vllm.device_pages import Mark
    from kvferry.vllm.regions import Pages
    from kvferry.vllm.spec import NamespaceLayout


def names_failed_blocks(layout: "NamespaceLayout") -> bool:
    """Whether a failure can be told block by block. vLLM takes block ids only
    while there is one cache group; and what it computes anew from a failed
    block on reads all before it, of which a window was loaded in part."""
    return layout.group_count == 1 and all(
        part.window_tokens == 0 for part in layout.parts
    )


class Loader:
    """Loads requests' blocks, on threads of its own or at once.

    A block counts as loaded when its bytes were copied and its pin was good
    afterwards; the rest has failed, and is told so before the request is told
    to be through.
    Threads  the worker's, and those that it starts with the first load
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        pages: "Sequence[Pages]",
        rank: int,
        link: DaemonLink,
        faults: Faults,
        *,
        thread_count: int,
    ) -> None:
        self._layout = layout
        self._pages = pages
        self._rank = rank
        self._link = link
        self._faults = faults
        self._by_block = names_failed_blocks(layout)
        self._thread_count = thread_count
        self._threads: list[threading.Thread] = []
        self._queue: queue.Queue[tuple[LoadRequest, Mark] | None] = (
            queue.Queue()
        )
        self._prefixes = threading.local()

        self._lock = threading.Lock()
        # All below under the lock.
        self._finished: set[str] = set()
        self._failed: set[str] = set()
        self._failed_to_tell: set[str] = set()
        self._failed_blocks: set[int] = set()
        self._stats = KVFerryStats()

    def submit(self, load: LoadRequest, mark: "Mark") -> None:
        self._queue.put((load, mark))
        if len(self._threads) < self._thread_count:
            thread = threading.Thread(
                target=self._run, name="kvferry-load", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def load_now(self, load: LoadRequest, mark: "Mark") -> bool:
        """Before a forward: not told as finished. Whether all is there."""
        good = self._load_or_fail(load, mark)
        with self._lock:
            self._failed.discard(load.request_id)
        return good

    def take_finished(self) -> tuple[set[str], set[str]]:
        """Requests that are through, and those of them that vLLM has to be
        told to have failed as a whole."""
        with self._lock:
            finished, self._finished = self._finished, set()
            failed = self._failed & finished
            self._failed -= failed
        return finished, failed

    def take_failed_blocks(self) -> set[int]:
        with self._lock:
            taken, self._failed_blocks = self._failed_blocks, set()
        return taken

    def take_failed_requests(self) -> set[str]:
        """For the scheduler's side: loads that failed, wholly or in part."""
        with self._lock:
            taken, self._failed_to_tell = self._failed_to_tell, set()
        return taken

    def add_stats(self, stats: KVFerryStats) -> None:
        with self._lock:
            stats.aggregate(self._stats)
            self._stats.reset()

    def close(self) -> None:
        """Ends after the loads that were submitted."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            load, mark = task
            self._load_or_fail(load, mark)
            with self._lock:
                self._finished.add(load.request_id)

    def _load_or_fail(self, load: LoadRequest, mark: "Mark") -> bool:
        started = time.monotonic()
        failed: list[int] = []
        try:
            for blocks in load.parts:
                failed += self._load_part(blocks, mark)
                if failed and not self._by_block:
                    break
        except Exception as error:
            # Whatever it was, the request must not wait for ever.
            self._faults.report("loading", error)
            failed = [
                block
                for blocks in load.parts
                for block in unpack_ids(blocks.block_ids)
            ]
        with self._lock:
            self._stats.add("load_seconds", time.monotonic() - started)
            if failed:
                self._stats.add("failed_loads")
                self._failed_to_tell.add(load.request_id)
                if self._by_block:
                    self._failed_blocks.update(failed)
                else:
                    self._failed.add(load.request_id)
        return not failed

    def _load_part(self, blocks: PartBlocks, mark: "Mark") -> list[int]:
        """The engine's blocks that could not be loaded."""
        ids = unpack_ids(blocks.block_ids)
        client = self._link.client
        if client is None:
            return list(ids)
        part = self._layout.parts[blocks.part]
        prefix = client.match(
            blocks.keys,
            group=part.index,
            into=getattr(self._prefixes, "prefix", None),
        )
        self._prefixes.prefix = prefix
        with prefix:
            there = self._leading_blocks(prefix, part.index)
            if part.window_tokens and there < len(blocks):
                return list(ids)
            if there == 0:
                return list(ids)
            wanted = blocks.block_ids[: there * ID_BYTES]
            if NULL_BLOCK in ids:
                wanted = pack_ids(
                    [
                        NO_BLOCK if block == NULL_BLOCK else block
                        for block in ids[:there]
                    ]
                )
            self._pages[part.index].load(prefix, wanted, mark)
        _, slices = self._layout.slices(part, self._rank)
        with self._lock:
            self._stats.add("loaded_blocks", there)
            self._stats.add(
                "loaded_bytes", there * slices * part.spec.page_bytes
            )
        return list(ids[there:])

    def _leading_blocks(self, prefix: Prefix, part: int) -> int:
        if prefix.tokens == 0 or prefix.first_block(part) != 0:
            return 0
        return prefix.block_count(part)
