"""The connector in a worker: the engine's pages, loads and saves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorTransferResults,
)

from kvferry.vllm.device_pages import NoStream, StreamLike, stream_of
from kvferry.vllm.link import DaemonLink, Faults, logger
from kvferry.vllm.loader import Loader
from kvferry.vllm.metadata import KVFerryMetadata, KVFerryWorkerMetadata
from kvferry.vllm.regions import pages_of
from kvferry.vllm.saver import SaveJob, Saver
from kvferry.vllm.stats import KVFerryStats

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig

    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.spec import NamespaceLayout


class WorkerSide:
    """What KVConnectorBase_V1 asks of a connector in a worker.

    Life cycle  1. register_kv_caches: attaches, in this very process
                2. each step: before_forward, start_load, finish_step,
                take_...
                3. shutdown
    Threads     the worker's; copies are on threads of the two below
    """

    def __init__(
        self,
        vllm_config: "VllmConfig",
        kv_cache_config: "KVCacheConfig",
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
    ) -> None:
        parallel = vllm_config.parallel_config
        transfer = vllm_config.kv_transfer_config
        assert transfer is not None
        self._layout = layout
        self._config = config
        self._block_count = kv_cache_config.num_blocks
        self._rank = parallel.rank % parallel.tensor_parallel_size
        self._saves_at_all = config.save and transfer.is_kv_producer
        self._faults = Faults()
        self._stats = KVFerryStats()
        self._link: DaemonLink | None = None
        self._loader: Loader | None = None
        self._saver: Saver | None = None
        self._stream: StreamLike = NoStream()
        self._spoiled: set[str] = set()
        self._ended: set[str] = set()
        self._step = 0
        self._told_step = 0
        self._told_job = 0

    def register_kv_caches(
        self, kv_caches: Mapping[str, torch.Tensor]
    ) -> None:
        first = kv_caches.get(self._layout.parts[0].layer_names[0])
        # What is no tensor is refused below.
        device = getattr(first, "device", torch.device("cpu"))
        link = DaemonLink(
            self._layout,
            self._config,
            self._faults,
            publish=self._saves_at_all,
            client_name=f"vllm-worker-{self._rank}",
            device=self._config.device_of(device.type, device.index),
        )
        pages = [
            pages_of(
                self._layout,
                part,
                self._rank,
                kv_caches,
                self._block_count,
                link=link,
            )
            for part in self._layout.parts
        ]
        self.shutdown()  # of what an earlier call registered
        self._stream = stream_of(device)
        self._link = link
        self._link.attach()
        self._loader = Loader(
            self._layout,
            pages,
            self._rank,
            self._link,
            self._faults,
            thread_count=self._config.load_threads,
        )
        self._saver = Saver(
            self._layout,
            self._config,
            pages,
            self._rank,
            self._link,
            self._faults,
        )
        logger.info(
            "KVFerry: rank %d, namespace %s, %d groups, %d bytes a token here",
            self._rank,
            self._layout.name,
            len(pages),
            sum(
                part.cell_bytes * part.heads_per_rank * len(part.layer_names)
                for part in self._layout.parts
            ),
        )

    def before_forward(self, metadata: KVFerryMetadata) -> None:
        """Nothing of the step has been launched."""
        if self._saver is not None and metadata.fence_job:
            self._saver.fence(metadata.fence_job)

    def start_load(self, metadata: KVFerryMetadata) -> None:
        """What is launched after it sees sync loads done; asynchronous ones
        start."""
        loader = self._loader
        if loader is None or not metadata.loads:
            return
        # After all that was launched so far: the blocks may have been another
        # request's, or are being zeroed.
        mark = self._stream.mark()
        for load in metadata.loads:
            if self._config.load == "async":
                loader.submit(load, mark)
            else:
                loader.start_now(load, mark, self._stream.engine_handle())

    def finish_step(self, metadata: KVFerryMetadata) -> None:
        """All forwards of the step are launched."""
        self._step = metadata.step
        self._settle_loads()
        saver = self._saver
        if saver is None:
            return
        saver.give_up(metadata.first_valid_job - 1)
        if metadata.job:
            saver.submit(
                SaveJob(
                    metadata.job,
                    metadata.engine_instance,
                    metadata.saves,
                    self._stream.mark(),
                    frozenset(self._spoiled),
                )
            )
        # A request's last saves come in the step that says that it ended.
        self._spoiled -= self._ended
        self._ended.clear()
        if metadata.commit_job and not saver.wait(
            metadata.commit_job, self._config.seconds("commit_timeout_ms")
        ):
            logger.warning_once(
                "KVFerry: a prefill's blocks were not committed within %g ms; "
                "its ticket has what was",
                self._config.commit_timeout_ms,
            )

    def _settle_loads(self) -> None:
        """Before anybody asks what came of the forward."""
        if self._loader is not None:
            self._spoiled |= self._loader.settle()

    def take_results(
        self, finished_req_ids: set[str]
    ) -> KVConnectorTransferResults:
        self._settle_loads()
        if self._spoiled:
            self._ended |= self._spoiled & finished_req_ids
        if self._loader is None:
            return KVConnectorTransferResults()
        finished, failed = self._loader.take_finished()
        return KVConnectorTransferResults(
            finished_recving=finished, failed_recving=failed
        )

    def take_failed_blocks(self) -> set[int]:
        if self._loader is None:
            return set()
        self._settle_loads()
        return self._loader.take_failed_blocks()

    def take_stats(self) -> KVFerryStats | None:
        if self._loader is not None:
            self._loader.add_stats(self._stats)
        if self._saver is not None:
            self._saver.add_stats(self._stats)
        self._faults.count_into(self._stats)
        return self._stats.take()

    def take_answer(self) -> KVFerryWorkerMetadata | None:
        """None when there is nothing new."""
        answer = KVFerryWorkerMetadata()
        if self._saver is not None:
            # In this order: a job that is done has told what it lost.
            done = self._saver.done_job
            if done != self._told_job:
                self._told_job = answer.done_jobs[self._rank] = done
            answer.lost_saves = self._saver.take_lost()
        if self._loader is not None:
            answer.failed_loads = self._loader.take_failed_requests()
        if self._config.load == "sync" and self._step != self._told_step:
            self._told_step = answer.steps[self._rank] = self._step
        if not (
            answer.done_jobs
            or answer.steps
            or answer.lost_saves
            or answer.failed_loads
        ):
            return None
        return answer

    def quiesce(self) -> None:
        """The engine takes its pages' memory away for a while; their
        addresses stay."""
        if self._saver is not None and not self._saver.quiesce():
            logger.error("KVFerry: a save does not end; its pages go away")

    def shutdown(self) -> None:
        if self._loader is not None:
            self._loader.close()
            self._loader = None
        if self._saver is not None:
            self._saver.close()
            self._saver = None
        if self._link is not None:
            self._link.close()
            self._link = None
