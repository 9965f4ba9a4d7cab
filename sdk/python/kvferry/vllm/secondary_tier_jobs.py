"""The tier's threads: a bounded queue of jobs, each of which ends.

A job is a load (towards the primary tier) or a store. It ends in one of three
ways, and its result is handed out once: it ran; its deadline passed while it
was waiting; it was refused, because the queue was full or the pool stopped.
A job that runs is never interrupted: the engine reuses the memory it copies
from or to as soon as its result is out.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vllm.v1.kv_offload.tiering.base import JobResult

logger = logging.getLogger("vllm.kvferry.tier")


@dataclass
class Job:
    """One transfer. `run` is called on a thread of the pool, or `give_up` once
    on any thread when it will not run; each returns the result."""

    blocks: int
    deadline: float  # time.monotonic()
    run: Callable[[], JobResult]
    give_up: Callable[[str], JobResult]


@dataclass
class _Queue:
    jobs: deque[Job] = field(default_factory=deque)
    blocks: int = 0

    def push(self, job: Job) -> None:
        self.jobs.append(job)
        self.blocks += job.blocks

    def pop(self) -> Job:
        job = self.jobs.popleft()
        self.blocks -= job.blocks
        return job


class JobPool:
    """A few threads that run jobs, loads before stores; with two threads or
    more one takes stores first, so that neither kind starves.

    Threads  push and take_results by one thread at a time (the scheduler's);
             results come from any.
    """

    def __init__(
        self, threads: int, load_blocks_max: int, store_blocks_max: int
    ) -> None:
        self._limits = {"load": load_blocks_max, "store": store_blocks_max}
        self._changed = threading.Condition()
        # All below: guarded by _changed.
        self._queues = {"load": _Queue(), "store": _Queue()}
        self._running = 0
        self._stopped = False
        self._results: deque[JobResult] = deque()
        self._threads = [
            threading.Thread(
                target=self._serve,
                args=(
                    ("store", "load")
                    if number == 0 and threads > 1
                    else ("load", "store"),
                ),
                name=f"kvferry-tier-{number}",
                daemon=True,
            )
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def push_load(self, job: Job) -> None:
        self._push("load", job)

    def push_store(self, job: Job) -> None:
        self._push("store", job)

    def _push(self, kind: str, job: Job) -> None:
        """Queues the job, or gives it up at once: blocks that wait in the
        queue are blocks that the primary tier cannot use for anything else.
        A job that is larger than the limit is let in when nothing waits."""
        with self._changed:
            queue = self._queues[kind]
            limit = self._limits[kind]
            if self._stopped:
                self._results.append(job.give_up("stopped"))
            elif queue.jobs and queue.blocks + job.blocks > limit:
                self._results.append(job.give_up("queue_full"))
            else:
                queue.push(job)
                # One that waits in drain must not take a worker's wake-up.
                self._changed.notify_all()

    def take_results(self) -> list[JobResult]:
        """Results since the last call. Jobs that wait beyond their deadline
        end here, should no thread come to them."""
        now = time.monotonic()
        with self._changed:
            for queue in self._queues.values():
                # In the order of their deadlines: all have the same time.
                while queue.jobs and queue.jobs[0].deadline <= now:
                    self._results.append(queue.pop().give_up("too_late"))
            results = list(self._results)
            self._results.clear()
            self._changed.notify_all()
        return results

    @property
    def waiting_blocks(self) -> int:
        """Blocks of the jobs that no thread has begun."""
        with self._changed:
            return sum(queue.blocks for queue in self._queues.values())

    def drain(self) -> None:
        """Returns when every job has ended. Blocking: until the latest
        deadline, and as long as one copy takes."""
        with self._changed:
            self._changed.wait_for(self._idle)

    def stop(self, timeout: float) -> bool:
        """Gives up what waits, and waits for what runs; whether every thread
        has ended. Later jobs are given up at once."""
        with self._changed:
            self._stopped = True
            for queue in self._queues.values():
                while queue.jobs:
                    self._results.append(queue.pop().give_up("stopped"))
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _idle(self) -> bool:
        return self._running == 0 and not any(
            queue.jobs for queue in self._queues.values()
        )

    def _serve(self, order: tuple[str, str]) -> None:
        while True:
            with self._changed:
                job = self._next(order)
                while job is None:
                    if self._stopped:
                        return
                    self._changed.wait()
                    job = self._next(order)
                self._running += 1
            result = self._end(job)
            # Together: who has waited for the job to end finds its result.
            with self._changed:
                self._running -= 1
                self._results.append(result)
                self._changed.notify_all()
            # Nothing of the job stays here while the thread waits.
            del job, result

    def _next(self, order: tuple[str, str]) -> Job | None:
        for kind in order:
            if self._queues[kind].jobs:
                return self._queues[kind].pop()
        return None

    @staticmethod
    def _end(job: Job) -> JobResult:
        if time.monotonic() >= job.deadline:
            return job.give_up("too_late")
        try:
            return job.run()
        except Exception:
            # A fault here must not take the thread along, or every later job
            # would wait for nobody.
            logger.exception("kvferry tier: a transfer failed unexpectedly")
            return job.give_up("fault")
