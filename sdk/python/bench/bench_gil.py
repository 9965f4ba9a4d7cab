"""How long each call holds the GIL, with the largest arguments there are.

Goal: 100 us. The least of several calls counts, since noise only adds;
tests/support/peer_gil_watch.py says how it is seen.
"""

import time
from collections.abc import Iterator

from options import Options
from row import Row, median
from stage import running_daemon
from support.peer_gil_calls import CONFIG, POOL, Call, GilCalls
from support.peer_gil_watch import GilWatch, Seen

_GOAL_US = 100.0
_SECONDS = 1.0
_QUICK_SECONDS = 0.1
_CALLS_MIN = 5


def run(opts: Options) -> Iterator[Row]:
    seconds = _QUICK_SECONDS if opts.quick else _SECONDS
    with running_daemon(POOL, CONFIG, apart=False) as daemon:
        stage = GilCalls(daemon.socket_path)
        with GilWatch(daemon.pid) as watch:
            for call in stage.calls():
                yield _row(call, _measure(watch, call, seconds))
        stage.close()


def _measure(watch: GilWatch, call: Call, seconds: float) -> list[Seen]:
    seen: list[Seen] = []
    deadline = time.monotonic() + seconds
    while len(seen) < _CALLS_MIN or time.monotonic() < deadline:
        call.prepare()
        seen.append(watch.see(call.run))
        call.tidy()
    return seen


def _row(call: Call, seen: list[Seen]) -> Row:
    blocked = [one.blocked_us for one in seen]
    return Row(
        "gil",
        call.name,
        min(blocked),
        "us",
        at_most=_GOAL_US,
        more={
            "p50_us": median(blocked),
            "call_us": median([one.call_us for one in seen]),
            "calls": len(seen),
        },
    )
