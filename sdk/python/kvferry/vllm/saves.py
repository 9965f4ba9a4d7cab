"""Which blocks are saved when, and who holds them meanwhile."""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvferry.vllm.events import StoredEvents
from kvferry.vllm.metadata import (
    KEY_BYTES,
    KEYS_MAX,
    NULL_BLOCK,
    KVFerryMetadata,
    KVFerryWorkerMetadata,
    PartBlocks,
    SaveEntry,
    pack_ids,
)
from kvferry.vllm.requests import NOT_SCHEDULED, RequestState
from kvferry.vllm.stats import KVFerryStats

if TYPE_CHECKING:
    from vllm.distributed.kv_events import BlockStored
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.kv_cache_utils import KVCacheBlock

    from kvferry import Client
    from kvferry.vllm.spec import NamespaceLayout, Part

# A job that takes longer is no reason for the engine to wait for its blocks.
_SOON_SECONDS = 1.0


@dataclass
class _Job:
    """The saves of one step."""

    number: int
    started: float
    blocks: list["KVCacheBlock"] = field(default_factory=list)
    entry_count: int = 0


@dataclass(eq=False)
class _Planned:
    """A save that the next step starts."""

    entry: SaveEntry
    event: "BlockStored | None"
    reused: bool = False  # its blocks went to somebody else meanwhile


class SavePlanner:
    """Plans saves, and sees to it that what is saved is what was computed.

    A block may leave its request at any moment while it is still being read:
    by a preemption, the request's end, a window that moved on. It may be
    reused then, which the engine's pool tells (BlockPool.unpin_blocks, right
    after touch, so that no reference is left). The next step's metadata names
    the job, and the worker gives it up before the forward unless it is done.
    So saves keep no block from anybody, and a forward waits little for them.

    Where the engine zeroes blocks before it asks the connector (caches of
    mixed precision), that would be too late: there a save holds references.
    Threads  the scheduler's
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        events: StoredEvents,
        stats: KVFerryStats,
        *,
        rank_count: int,
        backlog_share: float,
        hold_blocks: bool,
    ) -> None:
        # Another scheduler's publications must not be joined: not another
        # engine's, nor those of this one before it was restarted.
        self.engine_instance = secrets.randbits(63) | 1
        self._layout = layout
        self._events = events
        self._stats = stats
        self._backlog_share = backlog_share
        self._hold_blocks = hold_blocks
        self._manager: KVCacheManager | None = None
        self._backlog_max = 0
        self._backlog = 0  # blocks of unfinished saves
        self._fence_job = 0
        self._last_job = 0
        self._first_valid_job = 0
        self._jobs: deque[_Job] = deque()
        self._done_by_rank = [0] * rank_count
        # Of the job that the next step starts.
        self._next = _Job(1, 0.0)
        self._planned: list[_Planned] = []

    def bind(self, manager: "KVCacheManager") -> None:
        self._manager = manager
        self._backlog_max = int(
            manager.block_pool.num_gpu_blocks * self._backlog_share
        )

    @property
    def last_job(self) -> int:
        """0 while nothing was ever saved."""
        return self._last_job

    @property
    def done_job(self) -> int:
        """All jobs up to this one are done by every worker."""
        return min(self._done_by_rank)

    @property
    def pending(self) -> bool:
        return bool(self._jobs or self._planned)

    @property
    def frees_soon(self) -> bool:
        """Whether blocks come back without a preemption."""
        return (
            self._hold_blocks
            and bool(self._jobs)
            and time.monotonic() - self._jobs[0].started < _SOON_SECONDS
        )

    def plan(
        self,
        state: RequestState,
        client: "Client",
        computed_tokens: int,
        *,
        even_if_many: bool = False,
    ) -> None:
        """Saves what of the request's first `computed_tokens` tokens fills
        blocks and is not saved yet. A block's last token must be known for
        sure: speculative ones have no hash."""
        manager = self._manager
        if manager is None:
            return
        if state.saved_blocks[0] == NOT_SCHEDULED:
            self._start(state)
        state.name_blocks(client)
        tokens = min(
            computed_tokens,
            state.hash_count * self._layout.hash_block_tokens,
        )
        spans: list[tuple[Part, int, int]] = []
        for part in self._layout.parts:
            first = state.saved_blocks[part.index]
            end = tokens // part.block_tokens
            if end > first:
                spans.append((part, first, end))
        if not spans:
            return
        wanted = sum(end - first for _, first, end in spans)
        if self._backlog + wanted > self._backlog_max and not even_if_many:
            self._stats.add("deferred_saves")
            return
        tables = manager.get_blocks(state.request.request_id).blocks
        for part, first, end in spans:
            self._add(state, part, first, tables[part.group][first:end])
            state.saved_blocks[part.index] = end
        state.next_save_tokens = self._next_save_tokens(state)

    def ship(self, metadata: KVFerryMetadata) -> None:
        """Hands the planned saves to this step's metadata."""
        metadata.engine_instance = self.engine_instance
        metadata.first_valid_job = self._first_valid_job
        metadata.fence_job = self._fence_job
        self._fence_job = 0
        if not self._planned:
            return
        job = self._next
        job.started = time.monotonic()
        for planned in self._planned:
            if not planned.reused:
                self._events.add(
                    job.number, len(metadata.saves), planned.event
                )
                metadata.saves.append(planned.entry)
        job.entry_count = len(metadata.saves)
        self._last_job = metadata.job = job.number
        self._jobs.append(job)
        self._planned = []
        self._next = _Job(job.number + 1, 0.0)

    def update(self, answer: KVFerryWorkerMetadata) -> None:
        """Takes in what a step's workers said."""
        for number, index in answer.lost_saves:
            self._events.drop(number, index)
        for rank, last in answer.done_jobs.items():
            if 0 <= rank < len(self._done_by_rank):
                self._done_by_rank[rank] = max(self._done_by_rank[rank], last)
        done = self.done_job
        while self._jobs and self._jobs[0].number <= done:
            job = self._jobs.popleft()
            self._release(job)
            self._events.finish(job.number, job.entry_count)

    def give_up(self) -> None:
        """Nothing that was planned so far is to become visible."""
        self._events.clear()
        self._release(self._next)
        self._next = _Job(self._last_job + 1, 0.0)
        self._planned = []
        self._first_valid_job = self._last_job + 1

    def _start(self, state: RequestState) -> None:
        """What was there when the request began needs no saving; but whoever
        takes over a prompt needs all of it."""
        known = 0 if state.remote_decode else state.request.num_computed_tokens
        for part in self._layout.parts:
            state.saved_blocks[part.index] = known // part.block_tokens
        state.next_save_tokens = self._next_save_tokens(state)

    def _next_save_tokens(self, state: RequestState) -> int:
        return min(
            (state.saved_blocks[part.index] + 1) * part.block_tokens
            for part in self._layout.parts
        )

    def _add(
        self,
        state: RequestState,
        part: "Part",
        first: int,
        blocks: "Sequence[KVCacheBlock]",
    ) -> None:
        ids = [block.block_id for block in blocks]
        has_null = NULL_BLOCK in ids
        start = 0
        while start < len(ids):
            # What left the window stands as the null block.
            if ids[start] == NULL_BLOCK:
                start += 1
                continue
            end = min(len(ids), start + KEYS_MAX)
            if has_null and NULL_BLOCK in ids[start:end]:
                end = ids.index(NULL_BLOCK, start)
            self._add_run(
                state, part, first + start, blocks[start:end], ids[start:end]
            )
            start = end

    def _add_run(
        self,
        state: RequestState,
        part: "Part",
        first: int,
        blocks: "Sequence[KVCacheBlock]",
        ids: list[int],
    ) -> None:
        assert self._manager is not None
        end = first + len(ids)
        keys = state.keys_of(part, max(first - 1, 0), end)
        parent = keys[:KEY_BYTES] if first > 0 else b""
        planned = _Planned(
            SaveEntry(
                state.request.request_id,
                PartBlocks(part.index, keys[len(parent) :], pack_ids(ids)),
                parent,
            ),
            self._events.of(state, part, first, end),
        )
        self._planned.append(planned)
        self._backlog += len(blocks)
        self._next.blocks += blocks
        pool = self._manager.block_pool
        pool.touch(blocks)
        if not self._hold_blocks:
            pool.unpin_blocks(blocks, self._when_reused(planned))

    def _when_reused(
        self, planned: _Planned
    ) -> "Callable[[KVCacheBlock], None]":
        job = self._next.number

        def on_reuse(block: "KVCacheBlock") -> None:
            if job > self._last_job:
                planned.reused = True  # between a request's end and the step
            elif job > self.done_job:
                self._fence_job = max(self._fence_job, job)

        return on_reuse

    def _release(self, job: _Job) -> None:
        self._backlog -= len(job.blocks)
        if self._hold_blocks and job.blocks:
            assert self._manager is not None
            # As at a request's end: tails are evicted first.
            self._manager.block_pool.free_blocks(reversed(job.blocks))
        job.blocks = []
