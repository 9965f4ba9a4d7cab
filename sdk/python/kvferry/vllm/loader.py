"""Brings blocks from the namespace into the engine's pages."""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvferry import Prefix, errors
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
    from kvferry import Transfer
    from kvferry.vllm.device_pages import Mark, StreamHandle
    from kvferry.vllm.regions import Pages
    from kvferry.vllm.spec import NamespaceLayout


def names_failed_blocks(layout: "NamespaceLayout") -> bool:
    """Whether a failure can be told block by block. vLLM takes block ids only
    while there is one cache group; and what it computes anew from a failed
    block on reads all before it, of which a window was loaded in part."""
    return layout.group_count == 1 and all(
        part.window_tokens == 0 for part in layout.parts
    )


@dataclass
class _Started:
    """A load whose copies may still go on."""

    load: LoadRequest
    started: float
    failed: list[int] = field(default_factory=list)
    # Each with the engine's blocks, and how many bytes of them come.
    transfers: "list[tuple[Transfer, list[int], int]]" = field(
        default_factory=list
    )


class Loader:
    """Loads requests' blocks, on threads of its own or at once.

    A block counts as loaded when its bytes were copied and its pin was good
    afterwards; the rest has failed, and is told so before the request is told
    to be through, when nothing is written to its blocks any more.
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
        self._before_forward: list[_Started] = []  # the worker's thread's

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

    def start_now(
        self, load: LoadRequest, mark: "Mark", engine_stream: "StreamHandle"
    ) -> None:
        """Before a forward, which `engine_stream` is given afterwards: it sees
        the blocks loaded, unless settle() says that they are not."""
        started = self._start(load, mark)
        for transfer, _, _ in started.transfers:
            # What it says is asked for in settle().
            with suppress(errors.Error):
                if engine_stream is None:
                    transfer.wait()  # the forward is the processor's
                else:
                    _order_after(transfer, engine_stream)
        self._before_forward.append(started)

    def settle(self) -> set[str]:
        """Waits for the loads before the forward, which comes after them in
        the engine's stream. The requests of which not all is there; they are
        not told as finished."""
        bad: set[str] = set()
        settled, self._before_forward = self._before_forward, []
        for started in settled:
            if not self._finish(started):
                bad.add(started.load.request_id)
        with self._lock:
            self._failed -= bad
        return bad

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
        self.settle()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            load, mark = task
            self._finish(self._start(load, mark))
            with self._lock:
                self._finished.add(load.request_id)

    def _start(self, load: LoadRequest, mark: "Mark") -> _Started:
        started = _Started(load, time.monotonic())
        try:
            for blocks in load.parts:
                self._start_part(started, blocks, mark)
                if started.failed and not self._by_block:
                    break
        except Exception as error:
            # Whatever it was, the request must not wait for ever.
            self._faults.report("loading", error)
            started.failed = _blocks_of(load)
        return started

    def _finish(self, started: _Started) -> bool:
        """Whether all is there."""
        failed = started.failed
        loaded_blocks = loaded_bytes = 0
        for transfer, ids, byte_count in started.transfers:
            if self._wait(transfer):
                loaded_blocks += len(ids)
                loaded_bytes += byte_count
            else:
                failed += ids
        load = started.load
        with self._lock:
            self._stats.add("loaded_blocks", loaded_blocks)
            self._stats.add("loaded_bytes", loaded_bytes)
            self._stats.add(
                "load_seconds", time.monotonic() - started.started
            )
            if failed:
                self._stats.add("failed_loads")
                self._failed_to_tell.add(load.request_id)
                if self._by_block:
                    self._failed_blocks.update(failed)
                else:
                    self._failed.add(load.request_id)
        return not failed

    def _wait(self, transfer: "Transfer") -> bool:
        """Whether it ended well: every transfer ends."""
        try:
            transfer.wait()
        except errors.Error as error:
            self._faults.report("loading", error)
            return False
        return True

    def _start_part(
        self, started: _Started, blocks: PartBlocks, mark: "Mark"
    ) -> None:
        ids = unpack_ids(blocks.block_ids)
        client = self._link.client
        if client is None:
            started.failed += ids
            return
        part = self._layout.parts[blocks.part]
        prefix = client.match(
            blocks.keys,
            group=part.index,
            into=getattr(self._prefixes, "prefix", None),
        )
        self._prefixes.prefix = prefix
        with prefix:
            there = self._leading_blocks(prefix, part.index)
            if there == 0 or (part.window_tokens and there < len(blocks)):
                started.failed += ids
                return
            wanted = blocks.block_ids[: there * ID_BYTES]
            if NULL_BLOCK in ids:
                wanted = pack_ids(
                    [
                        NO_BLOCK if block == NULL_BLOCK else block
                        for block in ids[:there]
                    ]
                )
            transfer = self._pages[part.index].load(prefix, wanted, mark)
        _, slices = self._layout.slices(part, self._rank)
        byte_count = there * slices * part.spec.page_bytes
        started.failed += ids[there:]
        if transfer is not None:
            started.transfers.append(
                (transfer, list(ids[:there]), byte_count)
            )
            return
        with self._lock:
            self._stats.add("loaded_blocks", there)
            self._stats.add("loaded_bytes", byte_count)

    def _leading_blocks(self, prefix: Prefix, part: int) -> int:
        if prefix.tokens == 0 or prefix.first_block(part) != 0:
            return 0
        return prefix.block_count(part)


def _blocks_of(load: LoadRequest) -> list[int]:
    return [
        block
        for blocks in load.parts
        for block in unpack_ids(blocks.block_ids)
    ]


def _order_after(transfer: "Transfer", stream: int) -> None:
    try:
        transfer.order_after(stream)
    except errors.Error:
        transfer.wait()  # that orders it, too
