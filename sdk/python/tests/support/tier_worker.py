"""vLLM's tiering for an engine whose pages are in host memory.

vLLM 0.33.0 copies between pages and primary tier with CUDA only. This
specification replaces that one copy; the tiering manager, the primary tier,
its shared region and the connector are vLLM's.
"""

from typing import Any

import numpy as np
from vllm.v1.kv_offload.base import (
    CanonicalKVCaches,
    GPULoadStoreSpec,
    LoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class HostTieringSpec(TieringOffloadingSpec):
    """For kv_connector_extra_config: spec_name "HostTieringSpec",
    spec_module_path "support.tier_worker"."""

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        if self._worker is None:
            region = SharedOffloadRegion(
                engine_id=self.config.engine_id,
                num_chunks=self.num_chunks,
                rank=self.config.parallel.rank,
                kv_bytes_per_chunk=self.kv_bytes_per_chunk,
                cpu_page_size=self.cpu_page_size_per_worker,
            )
            self._worker = HostWorker(kv_caches, self.blocks_per_chunk, region)
        return self._worker


class HostWorker(OffloadingWorker):
    """Copies at once; results are taken a step later, as a device's are."""

    def __init__(
        self,
        kv_caches: CanonicalKVCaches,
        blocks_per_chunk: int,
        region: SharedOffloadRegion,
    ) -> None:
        self._blocks_per_chunk = blocks_per_chunk
        self._region = region
        self._refs = kv_caches.group_data_refs
        self._pages = [_bytes(tensor.tensor) for tensor in kv_caches.tensors]
        self._page_bytes = [t.page_size_bytes for t in kv_caches.tensors]
        self._rows = [
            _bytes(region.create_next_worker_view(size * blocks_per_chunk))
            for size in self._page_bytes
        ]
        self._finished: list[TransferResult] = []

    def submit_store(
        self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec
    ) -> bool:
        return self._copy(job_id, src_spec, dst_spec, to_rows=True)

    def submit_load(
        self,
        job_id: int,
        src_spec: LoadStoreSpec,
        dst_spec: GPULoadStoreSpec,
        expedited: bool = False,
    ) -> bool:
        return self._copy(job_id, dst_spec, src_spec, to_rows=False)

    def _copy(
        self,
        job_id: int,
        engine: GPULoadStoreSpec,
        primary: Any,
        to_rows: bool,
    ) -> bool:
        """A group's first block may lie in the middle of its first chunk."""
        copied, block_at, chunk_at = 0, 0, 0
        for group, (count, first) in enumerate(
            zip(engine.group_sizes, engine.block_indices, strict=True)
        ):
            skip = first % self._blocks_per_chunk
            for i in range(count):
                chunk, part = divmod(skip + i, self._blocks_per_chunk)
                copied += self._copy_block(
                    group,
                    int(engine.block_ids[block_at + i]),
                    int(primary.block_ids[chunk_at + chunk]),
                    part,
                    to_rows,
                )
            block_at += count
            if count:
                chunk_at += -(-(skip + count) // self._blocks_per_chunk)
        self._finished.append(TransferResult(job_id, True, copied, 0.0))
        return True

    def _copy_block(
        self, group: int, block: int, chunk: int, part: int, to_rows: bool
    ) -> int:
        copied = 0
        for ref in self._refs[group]:
            size = ref.page_size_bytes
            at = part * self._page_bytes[ref.tensor_idx]
            page = self._pages[ref.tensor_idx][block, :size]
            row = self._rows[ref.tensor_idx][chunk, at : at + size]
            if to_rows:
                row[:] = page
            else:
                page[:] = row
            copied += size
        return copied

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        return

    def shutdown(self) -> None:
        self._rows.clear()
        self._region.cleanup()


def _bytes(tensor: Any) -> np.ndarray:
    view: np.ndarray = tensor.numpy()
    return view.view(np.uint8)
