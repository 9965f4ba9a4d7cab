"""An executor whose ranks live in this process, aggregated as vLLM's are."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from vllm.distributed import parallel_state
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.abstract import Executor
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.serial_utils import run_method
from vllm.v1.worker.worker_base import WorkerWrapperBase

from harness.worker import FakeWorker


class LocalGroup:
    """A rank's place in its group, for ranks that share a process. vLLM's own
    groups need a process a rank; the tests with processes use them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.rank_in_group = rank
        self.local_rank = rank
        self.world_size = size
        self.ranks = list(range(size))
        self.is_first_rank = rank == 0
        self.is_last_rank = rank == size - 1

    def broadcast_object(self, value: Any, src: int = 0) -> Any:
        return value

    def destroy(self) -> None:
        pass


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Every worker registers kernels in its process, by a search through all
    modules: here once for all."""
    done: list[None] = []

    def first_only() -> None:
        if not done:
            done.append(call())

    return first_only


CpuPlatform.register_triton_kernel_overrides = staticmethod(  # type: ignore
    _once(CpuPlatform.register_triton_kernel_overrides)
)


class InProcessExecutor(Executor):
    supports_pp = True

    def _init_executor(self) -> None:
        self.wrappers: list[WorkerWrapperBase] = []
        # What a rank gets of a step, when not all of it.
        self.for_rank: Callable[[int, SchedulerOutput], SchedulerOutput] = (
            lambda rank, output: output
        )
        size = self.parallel_config.world_size
        for rank in range(size):
            config = copy.deepcopy(self.vllm_config)
            wrapper = WorkerWrapperBase(rpc_rank=rank)
            arguments = dict(
                vllm_config=config,
                local_rank=rank,
                rank=rank,
                distributed_init_method="",
                is_driver_worker=rank == 0,
            )
            self.wrappers.append(wrapper)
            with self._place(rank):
                wrapper.init_worker([arguments] * size)
                wrapper.init_device()
                wrapper.load_model()

    @contextmanager
    def _place(self, rank: int) -> Iterator[None]:
        tp_size = self.parallel_config.tensor_parallel_size
        before = parallel_state._TP, parallel_state._PP
        parallel_state._TP = LocalGroup(rank % tp_size, tp_size)  # type: ignore
        parallel_state._PP = LocalGroup(  # type: ignore
            rank // tp_size, self.parallel_config.pipeline_parallel_size
        )
        try:
            yield
        finally:
            parallel_state._TP, parallel_state._PP = before

    @property
    def workers(self) -> list[FakeWorker]:
        return [wrapper.worker for wrapper in self.wrappers]  # type: ignore

    def collective_rpc(  # type: ignore[override]
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
    ) -> Any:
        results = []
        for rank, wrapper in enumerate(self.wrappers):
            with self._place(rank):
                results.append(run_method(wrapper, method, args, kwargs or {}))
        return results

    def execute_model(  # type: ignore[override]
        self, scheduler_output: SchedulerOutput, non_block: bool = False
    ) -> Any:
        steps = [
            self.for_rank(rank, scheduler_output)
            for rank in range(len(self.wrappers))
        ]
        totals: dict[str, int] = {}
        for rank, worker in enumerate(self.workers):
            with self._place(rank):
                for name, digest in worker.begin_step(steps[rank]).items():
                    totals[name] = totals.get(name, 0) + digest
        outputs: list[ModelRunnerOutput | None] = []
        for rank, worker in enumerate(self.workers):
            with self._place(rank):
                # A copy: ranks in processes do not share vLLM's one empty
                # output, which the aggregator writes to.
                outputs.append(copy.copy(worker.end_step(steps[rank], totals)))
        output = outputs[0]
        if self.kv_output_aggregator is not None:
            output = self.kv_output_aggregator.aggregate(outputs, 0)
        if not non_block:
            return output
        future: Future[Any] = Future()
        future.set_result(output)
        self._last = future
        return future

    def sample_tokens(  # type: ignore[override]
        self, grammar_output: Any, non_block: bool = False
    ) -> Any:
        """Execution has sampled already; only a queue of batches asks."""
        return self._last

    def check_health(self) -> None:
        pass

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return True
