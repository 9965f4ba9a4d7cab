"""The fake worker: vLLM's worker interface and its order of calls to the
connector, around the fake model runner."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.distributed import kv_transfer
from vllm.distributed.kv_transfer import kv_transfer_state
from vllm.distributed.kv_transfer.kv_connector.utils import copy_kv_blocks
from vllm.forward_context import set_forward_context
from vllm.v1.attention.backends.utils import record_kv_cache_layout
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheSpec,
    MLAAttentionSpec,
    SlidingWindowSpec,
)
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.outputs import EMPTY_MODEL_RUNNER_OUTPUT, ModelRunnerOutput
from vllm.v1.worker.gpu.kv_connector import (
    ActiveKVConnector,
    get_kv_connector,
)
from vllm.v1.worker.kv_connector_model_runner_mixin import (
    KVConnectorModelRunnerMixin,
)
from vllm.v1.worker.worker_base import CompilationTimes, WorkerBase

from harness import oracle
from harness.models import ModelShape
from harness.pages import Pages
from harness.runner import FakeModelRunner


@dataclass(frozen=True)
class WorkerPlan:
    """What the harness tells its workers beside vLLM's configuration; it
    travels in additional_config."""

    shape: ModelShape
    kernel_block_tokens: int | None = None
    layer_hooks: bool = True
    sliding_block_tokens: int | None = None

    @staticmethod
    def of(config: VllmConfig) -> "WorkerPlan":
        plan = config.additional_config["harness_plan"]
        assert isinstance(plan, WorkerPlan)
        return plan


class FakeWorker(WorkerBase):
    """One rank. Its step is cut in two, so that ranks in one process can
    meet between them where a model's ranks meet in an all-reduce."""

    runner: FakeModelRunner

    def init_device(self) -> None:
        torch.set_num_threads(1)
        self.device = torch.device("cpu")
        self.plan = WorkerPlan.of(self.vllm_config)
        self._agent: Any = None
        self._step = ExitStack()
        self._meet_alone = True

    def load_model(self, *, load_dummy_weights: bool = False) -> None:
        shape = self.plan.shape
        tp_size = self.parallel_config.tensor_parallel_size
        tp_rank = self.rank % tp_size
        total = 1 if shape.is_latent else shape.head_count
        holders = max(1, tp_size // total)  # ranks with the same heads
        count = max(1, total // tp_size)
        first = tp_rank // holders * count
        self.heads = range(first, first + count)
        self.is_replica = tp_rank % holders > 0

    def get_supported_tasks(self) -> tuple[str, ...]:
        return ("generate",)

    def _layer_range(self) -> range:
        pp_size = self.parallel_config.pipeline_parallel_size
        pp_rank = self.rank // self.parallel_config.tensor_parallel_size
        count = len(self.plan.shape.windows)
        return range(
            count * pp_rank // pp_size, count * (pp_rank + 1) // pp_size
        )

    def get_kv_cache_spec(self) -> dict[str, KVCacheSpec]:
        shape = self.plan.shape
        block_tokens = self.cache_config.block_size
        dtype = getattr(torch, shape.dtype)
        specs: dict[str, KVCacheSpec] = {}
        names = shape.layer_names()
        for layer in self._layer_range():
            window = shape.windows[layer]
            if shape.is_latent:
                specs[names[layer]] = MLAAttentionSpec(
                    block_size=block_tokens,
                    num_kv_heads=1,
                    max_tp_shards=1,
                    head_size=shape.latent + 16,
                    dtype=dtype,
                    cache_dtype_str="auto",
                )
            elif window is None:
                specs[names[layer]] = FullAttentionSpec(
                    block_size=block_tokens,
                    num_kv_heads=len(self.heads),
                    head_size=shape.head_size,
                    dtype=dtype,
                )
            else:
                specs[names[layer]] = SlidingWindowSpec(
                    block_size=self.plan.sliding_block_tokens or block_tokens,
                    num_kv_heads=len(self.heads),
                    head_size=shape.head_size,
                    dtype=dtype,
                    sliding_window=window,
                )
        return specs

    def get_supported_kv_cache_layouts(self) -> list[str]:
        return [layout.name for layout in KVCacheLayout]

    def determine_available_memory(self) -> int:
        return 1 << 30

    def update_max_model_len(self, max_model_len: int) -> None:
        self.model_config.max_model_len = max_model_len

    def initialize_from_config(self, kv_cache_config: KVCacheConfig) -> None:
        self.cache_config.num_gpu_blocks = kv_cache_config.num_blocks
        assert kv_cache_config.kv_cache_layout is not None
        record_kv_cache_layout(
            self.cache_config, kv_cache_config.kv_cache_layout
        )
        self.cache_config.hash_block_size = kv_cache_config.hash_block_size
        self.cache_config.cache_hit_alignment_tokens = (
            kv_cache_config.cache_hit_alignment_tokens
        )
        with self.current():
            kv_transfer.ensure_kv_transfer_initialized(
                self.vllm_config, kv_cache_config
            )
            kernel = self.plan.kernel_block_tokens
            pages = Pages(
                kv_cache_config,
                self.cache_config.get_resolved_kv_cache_layout(),
                None
                if kernel is None
                else [kernel] * len(kv_cache_config.kv_cache_groups),
            )
            self.runner = FakeModelRunner(
                self.plan.shape,
                self.heads,
                pages,
                self._layer_range(),
                self.is_replica,
            )
            layers = self.vllm_config.compilation_config.static_forward_context
            for name, tensor in pages.tensors.items():
                layers[name] = SimpleNamespace(kv_cache=tensor)
            self._connect(pages.tensors)

    def _connect(self, tensors: dict[str, torch.Tensor]) -> None:
        """Registers the pages as the runner of this version does."""
        self.active: ActiveKVConnector | None = None
        if not kv_transfer.has_kv_transfer_group():
            return
        if self.vllm_config.use_v2_model_runner:
            active = get_kv_connector(self.vllm_config, tensors)
            assert isinstance(active, ActiveKVConnector)
            self.active = active
            return
        connector = kv_transfer.get_kv_transfer_group()
        connector.register_kv_caches(tensors)
        connector.set_host_xfer_buffer_ops(copy_kv_blocks)

    def compile_or_warm_up_model(self) -> CompilationTimes:
        return CompilationTimes(0.0, 0.0)

    def get_kv_connector_handshake_metadata(self) -> Any:
        with self.current():
            if not kv_transfer.has_kv_transfer_group():
                return None
            metadata = (
                kv_transfer.get_kv_transfer_group().get_handshake_metadata()
            )
        if metadata is None:
            return None
        tp_size = self.parallel_config.tensor_parallel_size
        return {(self.rank // tp_size, self.rank % tp_size): metadata}

    def set_weights(self, weights: int) -> None:
        self.runner.weights = weights

    def take_deviations(self) -> list[tuple[str, str]]:
        found = self.runner.deviations
        self.runner.deviations = []
        return found

    def connector(self) -> Any:
        return self._agent

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """A step of a rank that has a process for itself."""
        digests = self.begin_step(scheduler_output)
        return self.end_step(scheduler_output, self._meet(digests))

    def _meet(self, digests: dict[str, int]) -> dict[str, int]:
        from vllm.distributed import get_tp_group

        group = get_tp_group()
        if group.world_size == 1 or not digests:
            return digests
        signed = [
            digest - (1 << 64) if digest >= 1 << 63 else digest
            for digest in (value % (1 << 64) for value in digests.values())
        ]
        sums = torch.tensor(signed, dtype=torch.int64)
        torch.distributed.all_reduce(sums, group=group.cpu_group)
        return dict(zip(digests, sums.tolist(), strict=True))

    def begin_step(self, output: SchedulerOutput) -> dict[str, int]:
        """Up to the end of the forward pass: this rank's digests."""
        self._step = ExitStack()
        with self.current():
            self._kv_output: Any = None
            if self.active is not None:
                return self._begin_second(output)
            return self._begin_first(output)

    def _begin_first(self, output: SchedulerOutput) -> dict[str, int]:
        """In the order of vLLM's first model runner."""
        if kv_transfer.has_kv_transfer_group():
            connector = kv_transfer.get_kv_transfer_group()
            connector.handle_preemptions(output.kv_connector_metadata)
        self.runner.update(output)
        if not output.total_num_scheduled_tokens:
            return {}
        with self._forward_context():
            self._kv_output = self._step.enter_context(
                KVConnectorModelRunnerMixin.maybe_get_kv_connector_output(
                    output
                )
            )
            return self._forward(output)

    def _begin_second(self, output: SchedulerOutput) -> dict[str, int]:
        """In the order of vLLM's second model runner."""
        assert self.active is not None
        self.runner.update(output)
        if not output.total_num_scheduled_tokens:
            return {}
        with self._forward_context():
            self.active.pre_forward(output)
            digests = self._forward(output)
            self.active.finish_forward()
        return digests

    def _forward_context(self) -> AbstractContextManager[None]:
        """As in a forward pass: connectors look for layers and metadata."""
        return set_forward_context(
            dict.fromkeys(self.runner.layers, object()), self.vllm_config
        )

    def _forward(self, output: SchedulerOutput) -> dict[str, int]:
        connector = self._agent_now() if self.plan.layer_hooks else None
        if connector is None or not connector.has_connector_metadata():
            return self.runner.forward(
                output, lambda layer: None, lambda layer, tensor: None
            )
        return self.runner.forward(
            output,
            connector.wait_for_layer_load,
            lambda layer, tensor: connector.save_kv_layer(
                layer, tensor, object()
            ),
        )

    def end_step(
        self, output: SchedulerOutput, totals: dict[str, int]
    ) -> ModelRunnerOutput:
        """From the end of the forward pass on."""
        with self.current():
            if not output.total_num_scheduled_tokens:
                return self._end_empty(output)
            tokens = {
                request_id: oracle.sample(total, self.plan.shape.vocabulary)
                for request_id, total in totals.items()
            }
            self.runner.accept(tokens)
            ids = list(output.num_scheduled_tokens)
            result = ModelRunnerOutput(
                req_ids=ids,
                req_id_to_index={name: i for i, name in enumerate(ids)},
                sampled_token_ids=[
                    [tokens[name]] if name in tokens else [] for name in ids
                ],
            )
            if self.active is not None:
                with self._forward_context():
                    result.kv_connector_output = self.active.post_forward(
                        output.finished_req_ids
                    )
            else:
                with self._forward_context():
                    self._step.close()
                result.kv_connector_output = self._kv_output
            return result

    def _end_empty(self, output: SchedulerOutput) -> ModelRunnerOutput:
        if self.active is not None:
            return self.active.no_forward(output)
        if not kv_transfer.has_kv_transfer_group():
            return EMPTY_MODEL_RUNNER_OUTPUT
        return KVConnectorModelRunnerMixin.kv_connector_no_forward(
            output, self.vllm_config
        )

    def _agent_now(self) -> Any:
        if not kv_transfer.has_kv_transfer_group():
            return None
        return kv_transfer.get_kv_transfer_group()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this rank's connector the process's: vLLM has one rank a
        process, the harness may have several."""
        before = kv_transfer_state._KV_CONNECTOR_AGENT
        kv_transfer_state._KV_CONNECTOR_AGENT = self._agent
        try:
            yield
        finally:
            self._agent = kv_transfer_state._KV_CONNECTOR_AGENT
            kv_transfer_state._KV_CONNECTOR_AGENT = before

    def shutdown(self) -> None:
        with self.current():
            kv_transfer.ensure_kv_transfer_shutdown()


class DistributedFakeWorker(FakeWorker):
    """A rank in a process of its own, in vLLM's own groups over gloo."""

    def init_device(self) -> None:
        super().init_device()
        from vllm.distributed import (
            ensure_model_parallel_initialized,
            init_distributed_environment,
        )

        init_distributed_environment(
            self.parallel_config.world_size,
            self.rank,
            self.distributed_init_method,
            self.local_rank,
            "gloo",
        )
        ensure_model_parallel_initialized(
            self.parallel_config.tensor_parallel_size,
            self.parallel_config.pipeline_parallel_size,
        )
