"""An engine as far as a secondary tier sees one: vLLM's own tiering manager
over a primary tier in memory, and in the GPU's place whoever calls this."""

import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from vllm.v1.kv_offload.base import (
    LookupResult,
    OffloadKey,
    ReqContext,
    ScheduleEndContext,
    make_offload_key,
)
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.factory import OffloadingSpecFactory
from vllm.v1.kv_offload.tiering.manager import TieringOffloadingManager

from support.rank_payload import page_bytes

ROW_BYTES = 16384
TIMEOUT_S = 20.0
_LOOK_EVERY_S = 0.0005


def offload_key(number: int, group: int = 0) -> OffloadKey:
    """A key as vLLM makes them of SHA-256 digests."""
    digest = hashlib.sha256(number.to_bytes(8, "little")).digest()
    return make_offload_key(digest, group)


def row_of(key: OffloadKey, row_bytes: int = ROW_BYTES) -> np.ndarray:
    """The bytes that the block must have, in every process."""
    return page_bytes(hashlib.sha256(key).digest(), 0, row_bytes)


def offloading_config(
    tier: dict[str, Any],
    *,
    rows: int = 16,
    row_bytes: int = ROW_BYTES,
    model: str = "acme/test-model",
    dtype: str = "bfloat16",
    layout: str = "LBHNC",
    tokens_per_hash: int = 16,
    blocks_per_chunk: int = 1,
    tp_size: int = 1,
    pp_size: int = 1,
    canonical_layout: bool = False,
    is_parallelism_agnostic: bool = False,
    group_ids: Sequence[int] = (0,),
    layers: Sequence[str] = ("layers.0", "layers.1"),
    enable_kv_cache_events: bool = False,
) -> OffloadingConfig:
    """What vLLM's connector makes of its configuration; a chunk's row has
    `row_bytes` whatever the rest says."""
    return OffloadingConfig(
        groups=tuple(
            OffloadingGroupConfig(
                tokens_per_block=tokens_per_hash,
                layer_names=tuple(layers),
                group_id=group_id,
            )
            for group_id in group_ids
        ),
        worker_kv_bytes_per_block=row_bytes
        // (blocks_per_chunk * tp_size * pp_size),
        enable_kv_cache_events=enable_kv_cache_events,
        extra_config={
            "spec_name": "TieringOffloadingSpec",
            "cpu_bytes_to_use": rows * row_bytes,
            "secondary_tiers": [tier],
        },
        engine_id=f"kvferry-test-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        model=OffloadingModelConfig(name=model, dtype=dtype),
        cache=OffloadingCacheConfig(
            tokens_per_hash=tokens_per_hash, blocks_per_chunk=blocks_per_chunk
        ),
        parallel=OffloadingParallelConfig(
            rank=0,
            world_size=tp_size * pp_size,
            tp_size=tp_size,
            pp_size=pp_size,
            pcp_size=1,
            dcp_size=1,
            data_parallel_index=0,
            data_parallel_size=1,
            data_parallel_rank_local=None,
            is_parallelism_agnostic=is_parallelism_agnostic,
        ),
        canonical_layout=canonical_layout,
        kv_cache_layout=layout,
    )


class TierEngine:
    """One engine. Requests are named; step() is the end of a scheduler's step.

    `with` shuts it down.
    """

    def __init__(self, tier: dict[str, Any], **geometry: Any) -> None:
        self.config = offloading_config(tier, **geometry)
        self.spec = OffloadingSpecFactory.create_spec(self.config)
        manager = self.spec.get_manager()
        assert isinstance(manager, TieringOffloadingManager)
        self.manager = manager
        self.tier: Any = manager.secondary_tiers[0]
        self.row_bytes = self.tier.block_size_bytes
        self._requests: dict[str, ReqContext] = {}
        self._sums: dict[tuple[str, str], int] = {}
        self._is_shut_down = False

    @property
    def region_path(self) -> str:
        """The primary tier's file."""
        return f"/dev/shm/vllm_offload_{self.config.engine_id}.mmap"

    # --- a request ---------------------------------------------------------

    def request(self, name: str) -> ReqContext:
        """Its context; announced to the manager when it is new."""
        if name not in self._requests:
            self._requests[name] = ReqContext(req_id=name)
            self.manager.on_new_request(self._requests[name])
        return self._requests[name]

    def finish(self, name: str) -> None:
        self.manager.on_request_finished(self._requests.pop(name))

    def step(self) -> None:
        self.manager.on_schedule_end(ScheduleEndContext((), ()))

    # --- storing -----------------------------------------------------------

    def begin_store(
        self, name: str, keys: Iterable[OffloadKey], rows: Any = None
    ) -> list[OffloadKey]:
        """Computes the blocks and gives them to the primary tier, which gives
        them to the secondary; which keys were new to the primary tier."""
        wanted = list(keys)
        context = self.request(name)
        output = self.manager.prepare_store(wanted, context)
        assert output is not None, "the primary tier has no room"
        spec: Any = output.store_spec
        view = self.manager.primary_tier.get_kv_memoryview()
        chosen = {} if rows is None else dict(zip(wanted, rows, strict=True))
        for key, row in zip(output.keys_to_store, spec.chunk_ids, strict=True):
            bytes_of = chosen.get(key, row_of(key, self.row_bytes))
            _row(view, int(row), self.row_bytes)[:] = bytes_of
        if output.keys_to_store:
            self.manager.complete_store(output.keys_to_store, context)
        return output.keys_to_store

    def store(self, name: str, keys: Iterable[OffloadKey]) -> None:
        """begin_store, and waits until the secondary tier is through."""
        self.begin_store(name, keys)
        self.settle()

    def settle(self, timeout: float = TIMEOUT_S) -> None:
        """Steps until no transfer is under way."""
        deadline = time.monotonic() + timeout
        while True:
            self.step()
            if not self.manager.has_pending_work():
                return
            assert time.monotonic() < deadline, self.manager.__dict__
            time.sleep(_LOOK_EVERY_S)

    # --- loading -----------------------------------------------------------

    def look_up(self, name: str, key: OffloadKey) -> LookupResult:
        return self.manager.lookup(key, self.request(name))

    def hits(
        self, name: str, keys: Sequence[OffloadKey], timeout: float = TIMEOUT_S
    ) -> int:
        """Leading keys that are in the primary tier in the end, as vLLM's
        scheduler asks: again, step after step, while anything is coming."""
        deadline = time.monotonic() + timeout
        while True:
            found, again = 0, False
            for key in keys:
                answer = self.look_up(name, key)
                if answer is LookupResult.MISS:
                    break
                found += answer is not LookupResult.RETRY
                again |= answer is not LookupResult.HIT
            self.step()
            if not again:
                return found
            assert time.monotonic() < deadline, "the lookup never ends"
            time.sleep(_LOOK_EVERY_S)

    def read(self, name: str, keys: Sequence[OffloadKey]) -> list[np.ndarray]:
        """The blocks' bytes as the GPU would get them; all must be hits."""
        context = self.request(name)
        spec: Any = self.manager.prepare_load(keys, context)
        view = self.manager.primary_tier.get_kv_memoryview()
        rows = [
            _row(view, int(row), self.row_bytes).copy()
            for row in spec.chunk_ids
        ]
        self.manager.complete_load(keys, context)
        return rows

    def check(self, name: str, keys: Sequence[OffloadKey]) -> None:
        """All of `keys` hit, with the right bytes."""
        assert self.hits(name, keys) == len(keys)
        for key, row in zip(keys, self.read(name, keys), strict=True):
            assert np.array_equal(row, row_of(key, self.row_bytes)), key.hex()

    def forget(self) -> None:
        """Empties the primary tier alone, as if other blocks had come."""
        self.settle()
        self.manager.primary_tier.reset_cache()

    # --- what it counted -----------------------------------------------------

    def counted(self, metric: str, label: str = "") -> int:
        """The counter's sum since the start (a gauge's last value)."""
        stats = self.manager.get_stats()
        if stats is not None:
            for name, values in stats.data["data"].items():
                gauge = stats.data["types"][name] == "gauge"
                for labels, value in values.items():
                    if isinstance(value, list):
                        continue
                    at = (name, labels[0] if labels else "")
                    before = 0 if gauge else self._sums.get(at, 0)
                    self._sums[at] = before + value
        return self._sums.get((metric, label), 0)

    def shutdown(self) -> None:
        if not self._is_shut_down:
            self._is_shut_down = True
            self.manager.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()


def _row(view: memoryview, row: int, row_bytes: int) -> np.ndarray:
    flat = np.frombuffer(view, dtype=np.uint8)
    return flat[row * row_bytes : (row + 1) * row_bytes]
