"""An engine under test: vLLM's EngineCore, scheduler and cache manager, with
the harness's workers."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm import SamplingParams, envs
from vllm.config import KVEventsConfig, KVTransferConfig, VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.engine import core as core_module
from vllm.v1.engine.core import EngineCore
from vllm.v1.executor.abstract import Executor

from harness.executor import InProcessExecutor
from harness.models import LLAMA, ModelShape
from harness.worker import FakeWorker, WorkerPlan

Fault = Callable[["Engine"], None]

# An engine core freezes the heap of its process after a collection; a process
# of tests has a hundred engines.
core_module.freeze_gc_heap = lambda: None


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is made of. `connector` is the extra configuration of
    KVFerry's connector; None: the engine has no connector."""

    shape: ModelShape = LLAMA
    connector: Mapping[str, Any] | None = None
    transfer: KVTransferConfig | None = None  # instead of `connector`
    role: str = "kv_both"
    policy: str = "recompute"
    blocks: int = 400
    block_tokens: int = 16
    chunk_tokens: int = 256
    sequences: int = 16
    max_tokens: int = 512
    tp_size: int = 1
    pp_size: int = 1
    layout: str = "LBHNC"
    local_cache: bool = True
    second_runner: bool = False
    ahead: bool = False  # asynchronous scheduling
    kernel_block_tokens: int | None = None
    sliding_block_tokens: int | None = None
    layer_hooks: bool = True
    hash_algorithm: str = "sha256"
    events: bool = False
    worker: str = "harness.worker.FakeWorker"
    executor: type[Executor] = InProcessExecutor
    reserve_whole: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def transfer_config(self) -> KVTransferConfig | None:
        if self.transfer is not None or self.connector is None:
            return self.transfer
        return KVTransferConfig(
            kv_connector="KVFerryConnector",
            kv_connector_module_path="kvferry.vllm",
            kv_role=self.role,
            kv_load_failure_policy=self.policy,  # type: ignore[arg-type]
            kv_connector_extra_config=dict(self.connector),
        )

    def build(self, directory: Path) -> VllmConfig:
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = str(int(self.second_runner))
        envs.disable_envs_cache()
        preload = os.environ.get("LD_PRELOAD")
        arguments = EngineArgs(
            model=str(self.shape.write(directory)),
            skip_tokenizer_init=True,
            load_format="dummy",
            enforce_eager=True,
            dtype=self.shape.dtype,  # type: ignore[arg-type]
            block_size=self.block_tokens,
            max_model_len=self.max_tokens,
            max_num_batched_tokens=self.chunk_tokens,
            max_num_seqs=self.sequences,
            tensor_parallel_size=self.tp_size,
            pipeline_parallel_size=self.pp_size,
            enable_prefix_caching=self.local_cache,
            prefix_caching_hash_algo=self.hash_algorithm,  # type: ignore
            num_gpu_blocks_override=self.blocks,
            kv_transfer_config=self.transfer_config(),
            kv_events_config=KVEventsConfig(
                enable_kv_cache_events=True, publisher="null"
            )
            if self.events
            else None,
            additional_config={
                "harness_plan": WorkerPlan(
                    self.shape,
                    self.kernel_block_tokens,
                    self.layer_hooks,
                    self.sliding_block_tokens,
                )
            },
            distributed_executor_backend=self.executor,
            worker_cls=self.worker,
            async_scheduling=False,
            **self.extra,
        )
        config = arguments.create_engine_config()
        # The CPU platform preloads an allocator into what is started later.
        if preload is None:
            os.environ.pop("LD_PRELOAD", None)
        else:
            os.environ["LD_PRELOAD"] = preload
        config.cache_config.kv_cache_layout = self.layout
        config.cache_config.enable_prefix_caching = self.local_cache
        scheduler = config.scheduler_config
        scheduler.enable_chunked_prefill = True
        scheduler.max_num_batched_tokens = self.chunk_tokens
        scheduler.scheduler_reserve_full_isl = self.reserve_whole
        scheduler.async_scheduling = self.ahead
        return config


@dataclass
class Generated:
    tokens: list[int] = field(default_factory=list)
    finish: FinishReason | None = None
    params: dict[str, Any] | None = None  # kv_transfer_params, when finished
    cached_tokens: int = 0  # of the prompt, local and external
    external_tokens: int = 0


class Engine:
    """`with` shuts it down."""

    def __init__(self, spec: EngineSpec, directory: Path) -> None:
        self.spec = spec
        self.config = spec.build(directory)
        self.core = EngineCore(self.config, spec.executor, log_stats=True)
        self.outputs: dict[str, Generated] = {}
        self.stats: list[Any] = []
        self.events: list[Any] = []
        self.steps = 0
        self.scheduled: list[dict[str, int]] = []
        # Called with each step before the workers run it.
        self.before_step: Callable[[SchedulerOutput], None] | None = None
        self._schedule = self.scheduler.schedule
        self.scheduler.schedule = self._scheduled
        if spec.events:
            publisher = self.core.scheduler.kv_event_publisher  # type: ignore
            publisher.publish = lambda batch: self.events.extend(batch.events)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """As EngineCore.shutdown, without a collection of all garbage and
        the end of groups that other engines of the process share."""
        self.core.structured_output_manager.clear_backend()
        self.core.model_executor.shutdown()
        self.scheduler.shutdown()

    @property
    def scheduler(self) -> Any:
        return self.core.scheduler

    @property
    def executor(self) -> InProcessExecutor:
        executor = self.core.model_executor
        assert isinstance(executor, InProcessExecutor)
        return executor

    @property
    def workers(self) -> list[FakeWorker]:
        return self.executor.workers

    @property
    def computed_tokens(self) -> int:
        """Tokens scheduled so far: what was computed, not loaded."""
        return sum(sum(step.values()) for step in self.scheduled)

    def _scheduled(self, *arguments: Any) -> SchedulerOutput:
        output: SchedulerOutput = self._schedule(*arguments)
        self.scheduled.append(dict(output.num_scheduled_tokens))
        if self.before_step is not None:
            self.before_step(output)
        return output

    def add(
        self,
        name: str,
        prompt: Sequence[int],
        max_tokens: int = 4,
        params: dict[str, Any] | None = None,
        salt: str | None = None,
    ) -> None:
        sampling = SamplingParams(
            max_tokens=max_tokens, temperature=0.0, ignore_eos=True
        )
        if params is not None:
            sampling.extra_args = {"kv_transfer_params": params}
        request, wave = self.core.preprocess_add_request(
            EngineCoreRequest(
                request_id=name,
                prompt_token_ids=list(prompt),
                mm_features=None,
                sampling_params=sampling,
                pooling_params=None,
                arrival_time=time.time(),
                lora_request=None,
                cache_salt=salt,
                data_parallel_rank=None,
            )
        )
        self.outputs[name] = Generated()
        self.core.add_request(request, wave)

    def step(self) -> None:
        self.steps += 1
        outputs, executed = self.core.step_fn()
        self.core.post_step(executed)
        for batch in (outputs or {}).values():
            self._take(batch)

    def _take(self, batch: EngineCoreOutputs) -> None:
        if batch.scheduler_stats is not None:
            self.stats.append(batch.scheduler_stats)
        for output in batch.outputs:
            generated = self.outputs[output.request_id]
            generated.tokens.extend(output.new_token_ids)
            if output.prefill_stats is not None:
                stats = output.prefill_stats
                generated.cached_tokens = stats.num_cached_tokens
                generated.external_tokens = stats.num_external_cached_tokens
            if output.finish_reason is not None:
                generated.finish = output.finish_reason
                generated.params = output.kv_transfer_params

    def busy(self) -> bool:
        queue = self.core.batch_queue
        return self.scheduler.has_requests() or bool(queue)

    def run(
        self,
        until: Callable[[], bool] | None = None,
        deadline: float = 60.0,
        each: Fault | None = None,
    ) -> None:
        """Steps until nothing is left to do, or `until` holds."""
        end = time.monotonic() + deadline
        while self.busy() and not (until is not None and until()):
            if time.monotonic() > end:
                raise TimeoutError(
                    f"the engine still has {self.describe()} after "
                    f"{deadline} s and {self.steps} steps"
                )
            if each is not None:
                each(self)
            self.step()

    def describe(self) -> dict[str, str]:
        return {
            name: str(request.status)
            for name, request in self.scheduler.requests.items()
        }

    def generate(
        self,
        prompts: Mapping[str, Sequence[int]],
        max_tokens: int = 4,
        **run: Any,
    ) -> dict[str, list[int]]:
        """All at once; each one's tokens."""
        for name, prompt in prompts.items():
            self.add(name, prompt, max_tokens)
        self.run(**run)
        return self.tokens(prompts)

    def tokens(self, names: Iterable[str]) -> dict[str, list[int]]:
        return {name: self.outputs[name].tokens for name in names}

    def forget(self, connector: bool = False) -> None:
        """Empties the engine's own prefix cache, perhaps the connector's."""
        if not self.core.reset_prefix_cache(reset_connector=connector):
            raise AssertionError("the prefix cache could not be reset")

    def deviations(self) -> list[tuple[str, str]]:
        return [
            found
            for worker in self.workers
            for found in worker.take_deviations()
        ]

    def external_tokens(self, names: Iterable[str]) -> int:
        return sum(self.outputs[name].external_tokens for name in names)
