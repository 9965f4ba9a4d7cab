"""Writes the engine's blocks into the namespace, on a thread of its own."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvferry import OUTCOMES, errors
from kvferry.vllm.link import DaemonLink, Faults
from kvferry.vllm.metadata import SaveEntry
from kvferry.vllm.stats import KVFerryStats

if TYPE_CHECKING:
    from kvferry import Client, Publication, Transfer
    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.device_pages import Mark
    from kvferry.vllm.regions import Pages
    from kvferry.vllm.spec import NamespaceLayout, Part

_COMMITTED = OUTCOMES.index("committed")
_EXISTS = OUTCOMES.index("exists")
_IN_FLIGHT = OUTCOMES.index("in_flight")
# Publications of one job: one for each way in which parts are sliced.
_PUBLICATIONS_PER_JOB = 16
# How long a forward waits for jobs whose blocks it may overwrite.
_FENCE_SECONDS = 0.05
# After a daemon that does not answer, jobs are dropped unseen for so long.
_REST_SECONDS = 1.0


@dataclass
class SaveJob:
    """The saves of one step."""

    number: int
    engine_instance: int
    entries: list[SaveEntry]
    mark: "Mark"
    # Requests whose blocks hold what a failed load left.
    spoiled: frozenset[str] = frozenset()


class _Void(Exception):
    """The job was given up."""


class Saver:
    """Does jobs in their order.

    Life cycle  1. submit   2. done_job, wait, take_lost   3. close
    Threads     the worker's, and the one that it starts with the first job
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
        pages: "Sequence[Pages]",
        rank: int,
        link: DaemonLink,
        faults: Faults,
    ) -> None:
        self._layout = layout
        self._config = config
        self._pages = pages
        self._rank = rank
        self._link = link
        self._faults = faults
        self._kinds = list(
            dict.fromkeys(_kind(part) for part in layout.parts)
        )
        self._rest_until = 0.0
        self._thread: threading.Thread | None = None

        self._changed = threading.Condition()
        # All below under the condition's lock.
        self._jobs: deque[SaveJob] = deque()
        self._last_job = 0
        self._closed = False
        self._done_job = 0
        self._void_job = 0  # this one and all before it are void
        self._lost: set[tuple[int, int]] = set()
        self._stats = KVFerryStats()

    def submit(self, job: SaveJob) -> None:
        with self._changed:
            self._jobs.append(job)
            self._last_job = job.number
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="kvferry-save", daemon=True
            )
            self._thread.start()

    def give_up(self, job: int) -> None:
        """Nothing more of jobs up to `job` is committed. What was committed
        before was read before: a caller may overwrite blocks from here on."""
        with self._changed:
            self._void_job = max(self._void_job, job)

    def fence(self, job: int) -> None:
        """The same, after some patience."""
        if not self.wait(job, _FENCE_SECONDS):
            self.give_up(job)

    def quiesce(self) -> bool:
        """Whether nothing reads the engine's pages any more: what was
        submitted is done, or else was given up and let go of them."""
        timeout = self._config.seconds("commit_timeout_ms")
        with self._changed:
            last = self._last_job
        if self.wait(last, timeout):
            return True
        self.give_up(last)
        return self.wait(last, 2 * timeout)

    @property
    def done_job(self) -> int:
        with self._changed:
            return self._done_job

    def wait(self, job: int, timeout: float) -> bool:
        """Whether the job was done in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._done_job >= job, timeout
            )

    def take_lost(self) -> set[tuple[int, int]]:
        with self._changed:
            taken, self._lost = self._lost, set()
        return taken

    def add_stats(self, stats: KVFerryStats) -> None:
        with self._changed:
            stats.aggregate(self._stats)
            self._stats.reset()

    def close(self) -> None:
        """Ends after the job that is under way."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs.popleft()
            lost = set(range(len(job.entries)))
            try:
                self._save(job, lost)
            except _Void:
                pass
            except Exception as error:
                # One bad job must not end the thread: blocks of all later
                # ones would stay held for ever.
                self._faults.report("saving", error)
                if isinstance(
                    error, errors.Unavailable | errors.DeadlineExceeded
                ):
                    self._rest_until = time.monotonic() + _REST_SECONDS
            with self._changed:
                self._lost.update((job.number, index) for index in lost)
                self._done_job = job.number
                self._changed.notify_all()

    def _save(self, job: SaveJob, lost: set[int]) -> None:
        """Takes out of `lost` the entries that were committed wholly."""
        client = self._link.up
        if client is None or time.monotonic() < self._rest_until:
            with self._changed:
                self._stats.add(
                    "lost_blocks", sum(len(e.blocks) for e in job.entries)
                )
            return
        started = time.monotonic()
        for number, kind in enumerate(self._kinds):
            entries = [
                (index, entry)
                for index, entry in enumerate(job.entries)
                if _kind(self._part(entry)) == kind
            ]
            if not entries:
                continue
            part = self._part(entries[0][1])
            if not self._layout.writes(part, self._rank):
                lost.difference_update(index for index, _ in entries)
                continue
            first, count = self._layout.slices(part, self._rank)
            publication = client.open_publication(
                engine_instance=job.engine_instance,
                publication=job.number * _PUBLICATIONS_PER_JOB + number,
                slice_first=first,
                slice_count=count,
                stall_timeout=self._config.seconds("stall_timeout_ms"),
                standby=False,
                residence=self._residence(part),
            )
            # Leaving by an exception aborts what is not committed.
            with publication:
                self._write(job, entries, publication, lost)
        with self._changed:
            self._stats.add("save_seconds", time.monotonic() - started)

    def _write(
        self,
        job: SaveJob,
        entries: list[tuple[int, SaveEntry]],
        publication: "Publication",
        lost: set[int],
    ) -> None:
        timeout = self._config.seconds("commit_timeout_ms")
        begun: list[tuple[int, SaveEntry, int]] = []
        # Copies that go on; leaving waits for them in any case.
        under_way: list[tuple[SaveEntry, int, Transfer]] = []
        for index, entry in entries:
            self._check_valid(job)
            first = publication.begin(
                entry.blocks.keys,
                group=entry.blocks.part,
                parent=entry.parent or None,
                timeout=timeout,
            )
            if entry.request_id in job.spoiled:
                # Begun, since every rank must name the same positions; given
                # up when the publication is closed.
                continue
            transfer = self._pages[entry.blocks.part].save(
                publication, first, entry.blocks.block_ids, job.mark
            )
            if transfer is None:
                self._commit(job, publication, entry, first)
            else:
                under_way.append((entry, first, transfer))
            begun.append((index, entry, first))
        for entry, first, transfer in under_way:
            transfer.wait()
            self._commit(job, publication, entry, first)
        if not begun:
            return
        _, entry, first = begun[-1]
        # The commits of all positions are answered then.
        publication.commit_and_wait(first, len(entry.blocks), timeout)
        for index, entry, first in begun:
            self._count(
                index,
                entry,
                publication.outcomes(first, len(entry.blocks)),
                lost,
            )

    def _commit(
        self,
        job: SaveJob,
        publication: "Publication",
        entry: SaveEntry,
        first: int,
    ) -> None:
        # After the last byte was read: had one been overwritten before, the
        # job would have been given up before that.
        self._check_valid(job)
        publication.commit(first, len(entry.blocks))

    def _residence(self, part: "Part") -> str:
        """Where a publication's blocks are to lie. A block that several ranks
        write is where each of them can: in host memory."""
        gpu = self._link.gpu
        if gpu is not None and part.shards == 1 and gpu.has_pool:
            return "gpu"
        return "host"

    def _count(
        self, index: int, entry: SaveEntry, outcomes: bytes, lost: set[int]
    ) -> None:
        part = self._part(entry)
        written = outcomes.count(_COMMITTED)
        there = outcomes.count(_EXISTS)
        coming = outcomes.count(_IN_FLIGHT)
        if written + there == len(outcomes):
            lost.discard(index)
        _, slices = self._layout.slices(part, self._rank)
        with self._changed:
            self._stats.add("saved_blocks", written)
            self._stats.add(
                "saved_bytes", written * slices * part.spec.page_bytes
            )
            self._stats.add("known_blocks", there + coming)
            self._stats.add(
                "lost_blocks", len(outcomes) - written - there - coming
            )

    def _check_valid(self, job: SaveJob) -> None:
        with self._changed:
            if job.number <= self._void_job or self._closed:
                raise _Void

    def _part(self, entry: SaveEntry) -> "Part":
        return self._layout.parts[entry.blocks.part]


def _kind(part: "Part") -> tuple[int, int]:
    """What decides which slices a rank writes."""
    return part.spec.slice_count, part.shards
