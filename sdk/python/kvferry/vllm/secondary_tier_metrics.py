"""What the tier counts, under the engine's own metrics.

The engine counts jobs, bytes and lookups of every tier itself; these say why
something was not there.
"""

import threading

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import (
    OffloadingConnectorStats,
)
from vllm.v1.kv_offload.base import (
    OffloadingCounterMetadata,
    OffloadingGaugeMetadata,
    OffloadingMetricMetadata,
)

# Label `outcome`: stored, exists, in_flight (another engine writes it),
# no_space, void, queue_full, too_late, stopped, clearing, away, bad_key, error,
# fault.
STORE_BLOCKS = "vllm:kvferry_tier_store_blocks"
# Label `outcome`: loaded, gone, revoked, queue_full, too_late, stopped, error,
# fault.
LOAD_BLOCKS = "vllm:kvferry_tier_load_blocks"
# Label `answer`: hit, miss, in_flight (asked to come again), clearing, away,
# bad_key, failed_before, pins_full, error.
LOOKUPS = "vllm:kvferry_tier_lookups"
CLEARS = "vllm:kvferry_tier_clears"
CONNECTED = "vllm:kvferry_tier_connected"
PINS = "vllm:kvferry_tier_pins"
WAITING_BLOCKS = "vllm:kvferry_tier_waiting_blocks"


def metric_definitions() -> dict[str, OffloadingMetricMetadata]:
    return {
        STORE_BLOCKS: OffloadingCounterMetadata(
            documentation="Blocks offered to KVFerry, by what became of them.",
            labelnames=("outcome",),
        ),
        LOAD_BLOCKS: OffloadingCounterMetadata(
            documentation="Blocks asked of KVFerry, by what became of them.",
            labelnames=("outcome",),
        ),
        LOOKUPS: OffloadingCounterMetadata(
            documentation="Lookups in KVFerry's index, by answer.",
            labelnames=("answer",),
        ),
        CLEARS: OffloadingCounterMetadata(
            documentation="Times the namespace was cleared by a cache reset.",
        ),
        CONNECTED: OffloadingGaugeMetadata(
            documentation="1 while kvferryd answers, 0 while it is away.",
        ),
        PINS: OffloadingGaugeMetadata(
            documentation="Blocks found and not yet asked for.",
        ),
        WAITING_BLOCKS: OffloadingGaugeMetadata(
            documentation="Blocks of transfers that no thread has begun.",
        ),
    }


class Counters:
    """Sums since the last take().

    Threads  any
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, tuple[str, ...]], int] = {}

    def add(self, name: str, label: str | None = None, count: int = 1) -> None:
        key = (name, () if label is None else (label,))
        with self._lock:
            self._sums[key] = self._sums.get(key, 0) + count

    def take(self) -> OffloadingConnectorStats:
        with self._lock:
            sums, self._sums = self._sums, {}
        stats = OffloadingConnectorStats()
        for (name, labels), count in sums.items():
            stats.increase_counter(name, count, labels)
        return stats
