"""How long a call keeps other Python threads from running."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support.peer_wait import eventually

# Shorter ones are the watcher's own loop.
_GAP_NS_MIN = 5_000
_SWITCH_INTERVAL_S = 100e-6


@dataclass(frozen=True)
class Seen:
    """What the watcher saw of one call, in microseconds. `blocked_us` is the
    longest time in which it did not run."""

    call_us: float
    blocked_us: float


class GilWatch:
    """A thread that does nothing but ask for the time, while a call runs.

    Whoever holds the GIL makes a gap between two of its looks. The kernel makes
    gaps, too, when it has no processor for the watcher, or none for the caller
    while that has the GIL: so both run before all other processes where that is
    permitted (`urgent` says whether), and so does process `waited_for`, of
    which calls wait for an answer. Noise only ever adds, so the least of
    several calls is no less than the call's own.
    """

    def __init__(self, waited_for: int | None = None) -> None:
        self.urgent = False
        self._waited_for = waited_for
        # First look after the gap, and its length.
        self._gaps: list[tuple[int, int]] = []
        self._last = 0
        self._ending = False
        self._watching = threading.Event()
        self._interval = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._watch, name="gil watch")

    def __enter__(self) -> Self:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending = True
        self._watching.set()
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def see(self, call: Callable[[], object]) -> Seen:
        self._gaps.clear()
        self._watching.set()
        try:
            with self._before_all_others():
                self._wait_for_look_after(time.perf_counter_ns())
                begin = time.perf_counter_ns()
                call()
                end = time.perf_counter_ns()
                self._wait_for_look_after(end)
        finally:
            self._watching.clear()
        blocked = max(
            (
                min(after, end) - max(after - length, begin)
                for after, length in self._gaps
            ),
            default=0,
        )
        return Seen((end - begin) / 1e3, max(blocked, 0) / 1e3)

    @contextlib.contextmanager
    def _before_all_others(self) -> Iterator[None]:
        """This thread and the watcher; not the threads they start."""
        threads = [0, self._thread.native_id or 0]
        if self._waited_for is not None:
            threads += map(int, os.listdir(f"/proc/{self._waited_for}/task"))
        first = os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO))
        try:
            for thread in threads:
                os.sched_setscheduler(
                    thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, first
                )
            self.urgent = True
        except PermissionError:
            self.urgent = False
        try:
            yield
        finally:
            if self.urgent:
                for thread in threads:
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setscheduler(
                            thread, os.SCHED_OTHER, os.sched_param(0)
                        )

    def _wait_for_look_after(self, moment: int) -> None:
        assert eventually(lambda: self._last > moment)

    def _watch(self) -> None:
        clock = time.perf_counter_ns
        watching = self._watching
        while not self._ending:
            watching.wait()
            last = clock()
            while watching.is_set() and not self._ending:
                now = clock()
                if now - last > _GAP_NS_MIN:
                    self._gaps.append((now, now - last))
                self._last = last = now
