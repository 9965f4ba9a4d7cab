"""What goes wrong around a tier, and what must be true afterwards."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kvferry.vllm.secondary_tier_metrics import STORE_BLOCKS

from support.daemon import Daemon
from support.tier_engine import TierEngine, offload_key

# vLLM's own counters, and the tier's label in them.
CASCADE_FAILURES = "vllm:kv_offload_tiering_cascade_job_failures"
PROMOTION_FAILURES = "vllm:kv_offload_tiering_promotion_job_failures"
TIER = "1:kvferry"


def some_keys(first: int, count: int) -> list[Any]:
    return [offload_key(number) for number in range(first, first + count)]


@contextmanager
def halted(daemon: Daemon) -> Iterator[None]:
    """A daemon that is there and does nothing."""
    pid = daemon.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stores(engine: TierEngine, request: str, keys: list[Any]) -> bool:
    """Stores once more; whether all of it is in KVFerry then."""
    engine.forget()
    good = ("stored", "exists")
    before = sum(engine.counted(STORE_BLOCKS, label) for label in good)
    engine.store(request, keys)
    after = sum(engine.counted(STORE_BLOCKS, label) for label in good)
    return after - before == len(keys)
