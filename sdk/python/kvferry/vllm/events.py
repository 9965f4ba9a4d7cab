"""KV events of what was saved, for routers that listen to the engine.

A block is reported once every worker has committed it. When the daemon evicts
one, nobody is told: a router must take a stored block as likely, not as
certain.
"""

from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_events import (
    MEDIUM_CPU,
    AllBlocksCleared,
    BlockStored,
    KVCacheEvent,
)
from vllm.v1.core.kv_cache_utils import (
    generate_block_hash_extra_keys,
    maybe_convert_block_hash,
    to_event_extra_keys,
)
from vllm.v1.kv_cache_interface import (
    get_kv_cache_spec_kind,
    get_kv_cache_spec_sliding_window,
)

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.request import Request

    from kvferry.vllm.requests import RequestState
    from kvferry.vllm.spec import Part


class StoredEvents:
    """Events of the saves under way and of those that are done.

    Threads  the scheduler's
    """

    def __init__(
        self, vllm_config: "VllmConfig", kv_cache_config: "KVCacheConfig"
    ) -> None:
        events = vllm_config.kv_events_config
        self._enabled = events is not None and events.enable_kv_cache_events
        self._kinds = [
            (
                get_kv_cache_spec_kind(group.kv_cache_spec).value,
                get_kv_cache_spec_sliding_window(group.kv_cache_spec),
            )
            for group in kv_cache_config.kv_cache_groups
        ]
        self._planned: dict[tuple[int, int], BlockStored] = {}
        self._ready: list[KVCacheEvent] = []

    def of(
        self, state: "RequestState", part: "Part", first: int, end: int
    ) -> BlockStored | None:
        """The event of a request's blocks [first, end)."""
        if not self._enabled:
            return None
        request = state.request
        step = part.hashes_per_block
        hashes = request.block_hashes[
            (first + 1) * step - 1 : end * step : step
        ]
        parent = request.block_hashes[first * step - 1] if first else None
        lora = request.lora_request
        kind, window = self._kinds[part.group]
        return BlockStored(
            block_hashes=[maybe_convert_block_hash(each) for each in hashes],
            parent_block_hash=(
                None if parent is None else maybe_convert_block_hash(parent)
            ),
            token_ids=list(
                request.all_token_ids[
                    first * part.block_tokens : end * part.block_tokens
                ]
            ),
            block_size=part.block_tokens,
            lora_id=lora.adapter_id if lora else None,
            medium=MEDIUM_CPU,
            lora_name=lora.name if lora else None,
            extra_keys=to_event_extra_keys(
                _extra_keys(request, part.block_tokens, first, end)
            ),
            group_idx=part.group,
            kv_cache_spec_kind=kind,
            kv_cache_spec_sliding_window=window,
            locality="LOCAL",
        )

    def add(self, job: int, index: int, event: BlockStored | None) -> None:
        """Told when entry `index` of the job is done."""
        if event is not None:
            self._planned[job, index] = event

    def drop(self, job: int, index: int) -> None:
        self._planned.pop((job, index), None)

    def finish(self, job: int, entry_count: int) -> None:
        if not self._enabled:
            return
        for index in range(entry_count):
            event = self._planned.pop((job, index), None)
            if event is not None:
                self._ready.append(event)

    def clear(self) -> None:
        """The namespace was emptied, or is as good as empty."""
        self._planned.clear()
        if self._enabled:
            self._ready = [AllBlocksCleared()]

    def take(self) -> list[KVCacheEvent]:
        taken, self._ready = self._ready, []
        return taken


def _extra_keys(
    request: "Request", block_tokens: int, first: int, end: int
) -> list[tuple[Any, ...] | None] | None:
    """What besides tokens went into each block's hash."""
    if not (
        request.lora_request
        or request.mm_features
        or request.cache_salt
        or request.prompt_embeds is not None
    ):
        return None
    return [
        generate_block_hash_extra_keys(
            request, block * block_tokens, (block + 1) * block_tokens, 0
        )[0]
        for block in range(first, end)
    ]
