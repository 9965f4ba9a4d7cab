"""Counters of both sides, for vLLM's log and Prometheus."""

from dataclasses import dataclass
from typing import Any

from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    KVConnectorStats,
    PromMetric,
    PromMetricT,
)

# name: what it counts. Blocks, bytes and seconds are summed over the workers.
COUNTERS = {
    "matches": "prompts that were looked up",
    "hit_prompts": "prompts that hit",
    "hit_tokens": "tokens that hit",
    "asked_again": "answers that put a request off, blocks being in flight",
    "loaded_blocks": "blocks loaded",
    "loaded_bytes": "bytes loaded",
    "load_seconds": "time spent in loads",
    "failed_loads": "loads that failed, wholly or in part",
    "saved_blocks": "blocks written and committed",
    "saved_bytes": "bytes written and committed",
    "save_seconds": "time spent in saves",
    "known_blocks": "blocks to be saved that were there or in flight",
    "lost_blocks": "blocks to be saved that were not: no space, faults",
    "deferred_saves": "saves put off because too many were unfinished",
    "tickets": "tickets minted",
    "faults": "calls of KVFerry that failed",
}


@dataclass
class KVFerryStats(KVConnectorStats):
    """`data` has the counters that are not zero. Threads: one at a time."""

    def add(self, name: str, amount: float = 1) -> None:
        if amount:
            self.data[name] = self.data.get(name, 0) + amount

    def reset(self) -> None:
        self.data = {}

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        for name, amount in other.data.items():
            self.add(name, amount)
        return self

    def reduce(self) -> dict[str, int | float]:
        shown = {
            name: round(amount, 6) for name, amount in self.data.items()
        }
        for what in ("load", "save"):
            seconds = self.data.get(f"{what}_seconds", 0)
            moved = self.data.get(
                "loaded_bytes" if what == "load" else "saved_bytes", 0
            )
            if seconds > 0:
                shown[f"{what}_gigabytes_per_second"] = round(
                    moved / seconds / 1e9, 3
                )
        return shown

    def is_empty(self) -> bool:
        return not self.data

    def take(self) -> "KVFerryStats | None":
        """What was counted since the last call; None: nothing."""
        if self.is_empty():
            return None
        taken = KVFerryStats(self.data)
        self.reset()
        return taken


class KVFerryPromMetrics(KVConnectorPromMetrics):
    """Prometheus counters `vllm:kvferry_NAME`, one set an engine."""

    def __init__(
        self,
        vllm_config: VllmConfig,
        metric_types: dict[type[PromMetric], type[PromMetricT]],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> None:
        super().__init__(
            vllm_config, metric_types, labelnames, per_engine_labelvalues
        )
        self._counters: dict[str, dict[int, Any]] = {}
        for name, text in COUNTERS.items():
            counter = self._counter_cls(
                name=f"vllm:kvferry_{name}",
                documentation=f"KVFerry: {text}.",
                labelnames=labelnames,
            )
            self._counters[name] = {
                engine: counter.labels(*values)
                for engine, values in per_engine_labelvalues.items()
            }

    def observe(
        self, transfer_stats_data: dict[str, Any], engine_idx: int = 0
    ) -> None:
        for name, amount in transfer_stats_data.items():
            engines = self._counters.get(name)
            if engines is not None and amount > 0:
                engines[engine_idx].inc(amount)
