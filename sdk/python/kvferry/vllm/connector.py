"""KVFerryConnector: vLLM's KV connector, one class for both of its roles."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    KVConnectorStats,
    PromMetric,
    PromMetricT,
)
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from kvferry.vllm.config import ConnectorConfig
from kvferry.vllm.link import logger
from kvferry.vllm.loader import names_failed_blocks
from kvferry.vllm.metadata import KVFerryMetadata
from kvferry.vllm.scheduler import SchedulerSide
from kvferry.vllm.spec import layout_of
from kvferry.vllm.stats import KVFerryPromMetrics, KVFerryStats
from kvferry.vllm.worker import WorkerSide

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.distributed.kv_events import KVCacheEvent
    from vllm.forward_context import ForwardContext
    from vllm.v1.attention.backend import AttentionMetadata
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks, KVCacheManager
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request


class KVFerryConnector(KVConnectorBase_V1, SupportsHMA):
    """Hands each call to SchedulerSide or WorkerSide.

    Raises  ValueError (UnsupportedConfiguration) for an engine whose cache
            cannot be kept, an unknown kvferry.* key, and, once the daemon is
            there, kvferry.errors for a namespace of another geometry. Nothing
            later on: what goes wrong then is a miss or a lost save.
    """

    _cache_hit_source = CacheHitSource.HOST

    def __init__(
        self,
        vllm_config: "VllmConfig",
        role: KVConnectorRole,
        kv_cache_config: "KVCacheConfig",
    ) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        transfer = self._kv_transfer_config
        config = ConnectorConfig.parse(transfer.kv_connector_extra_config)
        layout = layout_of(vllm_config, kv_cache_config, config)
        if config.load == "sync" and not (
            names_failed_blocks(layout)
            and vllm_config.max_concurrent_batches == 1
        ):
            # vLLM cannot be told that such a load failed, or has computed on
            # what it left before it is told.
            logger.info(
                'KVFerry: kvferry.load is "async": there are several cache '
                "groups, sliding windows, or steps under way at a time"
            )
            config = replace(config, load="async")
        self._scheduler: SchedulerSide | None = None
        self._worker: WorkerSide | None = None
        if role == KVConnectorRole.SCHEDULER:
            if transfer.kv_load_failure_policy != "recompute":
                logger.warning(
                    'KVFerry: kv_load_failure_policy is "%s": a request whose '
                    "blocks were evicted while it waited fails; "
                    '"recompute" computes them',
                    transfer.kv_load_failure_policy,
                )
            self._scheduler = SchedulerSide(
                vllm_config, kv_cache_config, layout, config
            )
        else:
            self._worker = WorkerSide(
                vllm_config, kv_cache_config, layout, config
            )

    # --- both roles ---

    @property
    def requires_kv_delivery(self) -> bool:
        return False  # a save that is lost is a miss, no more

    @classmethod
    def get_required_kvcache_layout(
        cls, vllm_config: "VllmConfig"
    ) -> str | None:
        return None

    @classmethod
    def requires_piecewise_for_cudagraph(
        cls, extra_config: dict[str, Any]
    ) -> bool:
        return False

    @classmethod
    def build_kv_connector_stats(
        cls, data: dict[str, Any] | None = None
    ) -> KVConnectorStats | None:
        return KVFerryStats() if data is None else KVFerryStats(data=data)

    @classmethod
    def build_prom_metrics(
        cls,
        vllm_config: "VllmConfig",
        metric_types: dict[type[PromMetric], type[PromMetricT]],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> KVConnectorPromMetrics | None:
        return KVFerryPromMetrics(
            vllm_config, metric_types, labelnames, per_engine_labelvalues
        )

    def get_kv_connector_stats(self) -> KVConnectorStats | None:
        if self._scheduler is not None:
            return self._scheduler.take_stats()
        return self._on_worker.take_stats()

    def shutdown(self) -> None:
        if self._scheduler is not None:
            self._scheduler.shutdown()
        if self._worker is not None:
            self._worker.shutdown()

    # --- in a worker ---

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        self._on_worker.register_kv_caches(kv_caches)

    def unregister_kv_caches(self) -> None:
        self._on_worker.quiesce()

    def handle_preemptions(
        self, kv_connector_metadata: KVConnectorMetadata
    ) -> None:
        assert isinstance(kv_connector_metadata, KVFerryMetadata)
        self._on_worker.before_forward(kv_connector_metadata)

    def start_load_kv(
        self, forward_context: "ForwardContext", **kwargs: Any
    ) -> None:
        self._on_worker.start_load(self._metadata)

    def wait_for_layer_load(self, layer_name: str) -> None:
        return  # loads are whole, before or between forwards

    def save_kv_layer(
        self,
        layer_name: str,
        kv_layer: torch.Tensor,
        attn_metadata: "AttentionMetadata",
        **kwargs: Any,
    ) -> None:
        return  # not called when a CUDA graph is replayed

    def wait_for_save(self) -> None:
        self._on_worker.finish_step(self._metadata)

    def get_finished(
        self, finished_req_ids: set[str]
    ) -> tuple[set[str] | None, set[str] | None]:
        results = self._on_worker.take_results(finished_req_ids)
        return None, results.finished_recving or None

    def get_transfer_results(
        self, finished_req_ids: set[str]
    ) -> KVConnectorTransferResults:
        return self._on_worker.take_results(finished_req_ids)

    def get_block_ids_with_load_errors(self) -> set[int]:
        return self._on_worker.take_failed_blocks()

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        return self._on_worker.take_answer()

    # --- in the scheduler ---

    def bind_kv_cache_manager(
        self, kv_cache_manager: "KVCacheManager"
    ) -> None:
        super().bind_kv_cache_manager(kv_cache_manager)
        self._on_scheduler.bind_kv_cache_manager(kv_cache_manager)

    def on_new_request(self, request: "Request") -> None:
        self._on_scheduler.on_new_request(request)

    def get_num_new_matched_tokens(
        self, request: "Request", num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        return self._on_scheduler.get_num_new_matched_tokens(
            request, num_computed_tokens
        )

    def update_state_after_alloc(
        self,
        request: "Request",
        blocks: "KVCacheBlocks",
        num_external_tokens: int,
    ) -> None:
        self._on_scheduler.update_state_after_alloc(
            request, blocks, num_external_tokens
        )

    def build_connector_meta(
        self, scheduler_output: SchedulerOutput
    ) -> KVConnectorMetadata:
        return self._on_scheduler.build_connector_meta(scheduler_output)

    def update_connector_output(
        self, connector_output: "KVConnectorOutput"
    ) -> None:
        self._on_scheduler.update_connector_output(connector_output)

    def request_finished(
        self, request: "Request", block_ids: list[int]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self._on_scheduler.request_finished(request)

    def request_finished_all_groups(
        self, request: "Request", block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self._on_scheduler.request_finished(request)

    def has_pending_push_work(self) -> bool:
        return self._on_scheduler.work_pending

    def has_pending_block_frees(self) -> bool:
        return self._on_scheduler.frees_soon

    def take_events(self) -> "Iterable[KVCacheEvent]":
        return self._on_scheduler.take_events()

    def reset_cache(self) -> bool | None:
        return self._on_scheduler.reset_cache()

    # --- the side that this instance is ---

    @property
    def _on_scheduler(self) -> SchedulerSide:
        assert self._scheduler is not None, "a call for the scheduler's role"
        return self._scheduler

    @property
    def _on_worker(self) -> WorkerSide:
        assert self._worker is not None, "a call for a worker's role"
        return self._worker

    @property
    def _metadata(self) -> KVFerryMetadata:
        metadata = self._get_connector_metadata()
        assert isinstance(metadata, KVFerryMetadata)
        return metadata
