"""What vLLM's configuration means as a namespace of KVFerry.

A vLLM cache group becomes one KVFerry group, or one for each size of page
among its layers; such a group is called a part here. A page's cell is what
vLLM keeps for one token and head: K and V packed, or MLA's latent, or codes
and scales of a quantised cache. It is copied as it is, so a part has kv_count
1 and every stride order of vLLM gives the same pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm.v1.core.kv_cache_utils import resolve_kv_cache_block_sizes
from vllm.v1.kv_cache_interface import (
    AttentionSpec,
    FullAttentionSpec,
    KVCacheGroupRole,
    KVCacheSpec,
    MLAAttentionSpec,
    SlidingWindowMLASpec,
    SlidingWindowSpec,
    UniformTypeKVCacheSpecs,
)

from kvferry import GroupSpec

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheGroupSpec

    from kvferry.vllm.config import ConnectorConfig

# What a page holds and in which order; changes with either.
PAGE_FORMAT = "vllm-cells-1"

_NAME_BYTES_MAX = 128
_SPEC_STRING_BYTES_MAX = 256
_GROUP_NAME_BYTES_MAX = 32
_SLICES_MAX = 64
_GROUPS_MAX = 16

# Exactly these classes; what derives from them lays its blocks out otherwise.
_SUPPORTED_SPECS = (
    FullAttentionSpec,
    MLAAttentionSpec,
    SlidingWindowSpec,
    SlidingWindowMLASpec,
)


class UnsupportedConfiguration(ValueError):
    """The connector cannot keep this engine's cache; the text says what of
    it."""


@dataclass(frozen=True)
class Part:
    """One KVFerry group: layers of one vLLM group with pages of one size."""

    index: int  # of the KVFerry group
    group: int  # of the vLLM group
    layer_names: tuple[str, ...]
    spec: GroupSpec
    block_tokens: int
    hashes_per_block: int
    # Tokens before the next one that its blocks must cover; 0: all of them.
    window_tokens: int
    heads_per_rank: int
    cell_bytes: int
    shards: int  # ranks with different heads; the rest hold replicas

    def first_block(self, tokens: int) -> int:
        """The first block that is read after `tokens` tokens."""
        if self.window_tokens == 0:
            return 0
        return max(0, tokens - self.window_tokens) // self.block_tokens


@dataclass(frozen=True)
class NamespaceLayout:
    """A namespace's identity and parts, and who has which slices."""

    name: str
    model: str
    revision: str
    dtype: str
    parts: tuple[Part, ...]
    scheduler_block_tokens: int
    hash_block_tokens: int
    cryptographic_hash: bool
    rank_count: int  # tensor parallel size

    @property
    def group_count(self) -> int:
        return 1 + max(part.group for part in self.parts)

    def slices(self, part: Part, rank: int) -> tuple[int, int]:
        """The first slice of a rank, and how many."""
        count = part.spec.slice_count // part.shards
        return rank // (self.rank_count // part.shards) * count, count

    def writes(self, part: Part, rank: int) -> bool:
        """Whether the rank is the first that holds its slices."""
        return rank % (self.rank_count // part.shards) == 0


def layout_of(
    vllm_config: "VllmConfig",
    kv_cache_config: "KVCacheConfig",
    config: "ConnectorConfig",
) -> NamespaceLayout:
    """Raises UnsupportedConfiguration for what the connector cannot do."""
    _check_parallel(vllm_config)
    scheduler_block, hash_block = resolve_kv_cache_block_sizes(
        kv_cache_config, vllm_config
    )
    parts: list[Part] = []
    for index, group in enumerate(kv_cache_config.kv_cache_groups):
        _check_group(index, group)
        for spec, names in _layers_by_spec(group):
            parts.append(
                _part(
                    len(parts),
                    index,
                    names,
                    spec,
                    hash_block,
                    vllm_config,
                    config,
                )
            )
    if not 1 <= len(parts) <= _GROUPS_MAX:
        raise UnsupportedConfiguration(
            f"{len(parts)} cache groups with pages of one size, need 1 to "
            f"{_GROUPS_MAX}"
        )
    model = str(vllm_config.model_config.model)
    revision = config.revision
    if revision is None:
        revision = str(vllm_config.model_config.revision or "")
    return NamespaceLayout(
        name=config.namespace or default_name(model),
        model=model[-_SPEC_STRING_BYTES_MAX:],
        revision=revision,
        dtype=_dtype(vllm_config, parts, kv_cache_config),
        parts=tuple(parts),
        scheduler_block_tokens=scheduler_block,
        hash_block_tokens=hash_block,
        cryptographic_hash=str(
            vllm_config.cache_config.prefix_caching_hash_algo
        ).startswith("sha256"),
        rank_count=vllm_config.parallel_config.tensor_parallel_size,
    )


def default_name(model: str) -> str:
    """A namespace's name must be printable and without blanks and slashes."""
    name = "vllm-" + "".join(
        "_" if letter <= " " or letter in "/\x7f" else letter
        for letter in model
    )
    return name.encode()[:_NAME_BYTES_MAX].decode(errors="ignore")


def _check_parallel(vllm_config: "VllmConfig") -> None:
    parallel = vllm_config.parallel_config
    for name in (
        "pipeline_parallel_size",
        "decode_context_parallel_size",
        "prefill_context_parallel_size",
    ):
        size = getattr(parallel, name, 1)
        if size != 1:
            raise UnsupportedConfiguration(f"{name}: {size}, need 1")
    if getattr(vllm_config.cache_config, "calculate_kv_scales", False):
        raise UnsupportedConfiguration(
            "calculate_kv_scales: scales that an engine computes for itself "
            "make its pages unreadable for others"
        )


def _check_group(index: int, group: "KVCacheGroupSpec") -> None:
    if (
        not group.enable_kv_transfer
        or group.host_resident
        or group.role != KVCacheGroupRole.DEFAULT
    ):
        raise UnsupportedConfiguration(
            f"cache group {index}: role {group.role.value}, host_resident "
            f"{group.host_resident}, enable_kv_transfer "
            f"{group.enable_kv_transfer}; only ordinary device groups are "
            "supported"
        )
    for name, spec in _layer_specs(group):
        where = f"cache group {index}, layer {name}"
        if type(spec) not in _SUPPORTED_SPECS:
            raise UnsupportedConfiguration(
                f"{where}: {type(spec).__name__}, supported are "
                + ", ".join(each.__name__ for each in _SUPPORTED_SPECS)
            )
        assert isinstance(spec, AttentionSpec)
        if not spec.prefix_cacheable:
            raise UnsupportedConfiguration(
                f"{where}: its blocks are not addressed by prefix"
            )
        if spec.tokens_per_state != 1:
            raise UnsupportedConfiguration(
                f"{where}: tokens_per_state is {spec.tokens_per_state}, "
                "need 1"
            )
        if getattr(spec, "attention_chunk_size", None) is not None:
            raise UnsupportedConfiguration(
                f"{where}: attention in chunks of "
                f"{getattr(spec, 'attention_chunk_size')} tokens"
            )


def _layer_specs(
    group: "KVCacheGroupSpec",
) -> Iterator[tuple[str, KVCacheSpec]]:
    shared = group.kv_cache_spec
    for name in group.layer_names:
        if isinstance(shared, UniformTypeKVCacheSpecs):
            yield name, shared.kv_cache_specs[name]
        else:
            yield name, shared


def _layers_by_spec(
    group: "KVCacheGroupSpec",
) -> list[tuple[AttentionSpec, tuple[str, ...]]]:
    """The group's layers, those with pages of one kind together."""
    kinds: dict[tuple[Any, ...], tuple[AttentionSpec, list[str]]] = {}
    for name, spec in _layer_specs(group):
        assert isinstance(spec, AttentionSpec)
        kind = (
            type(spec),
            spec.num_heads,
            spec.state_content_size_bytes,
            spec.max_tp_shards,
            spec.dtype,
            spec.kv_quant_mode,
        )
        kinds.setdefault(kind, (spec, []))[1].append(name)
    return [(spec, tuple(names)) for spec, names in kinds.values()]


def _part(
    index: int,
    group: int,
    names: tuple[str, ...],
    spec: AttentionSpec,
    hash_block: int,
    vllm_config: "VllmConfig",
    config: "ConnectorConfig",
) -> Part:
    window = 0
    if isinstance(spec, SlidingWindowSpec):
        window = spec.num_retained_tokens
    tokens = spec.block_size
    shards = _shards(spec, vllm_config)
    slices = _slice_count(
        f"cache group {group}", spec.num_heads * shards, shards, config
    )
    trailing = isinstance(spec, SlidingWindowSpec)
    cell = spec.state_content_size_bytes
    kind = "window" if trailing else "full"
    return Part(
        index=index,
        group=group,
        layer_names=names,
        spec=GroupSpec(
            f"{kind}-{index}"[:_GROUP_NAME_BYTES_MAX],
            block_tokens=tokens,
            layer_count=len(names),
            kv_count=1,
            head_count=spec.num_heads * shards // slices,
            head_bytes=cell,
            slice_count=slices,
            rule="trailing" if trailing else "all_prefix",
            # As many as vLLM allocates and reads after a hit at a boundary. A
            # window of one token reads none; one is the least of this rule.
            trailing_blocks=(
                max(1, -(-window // tokens)) if trailing else 0
            ),
        ),
        block_tokens=tokens,
        hashes_per_block=tokens // hash_block,
        window_tokens=max(1, window) if trailing else 0,
        heads_per_rank=spec.num_heads,
        cell_bytes=cell,
        shards=shards,
    )


def _shards(spec: AttentionSpec, vllm_config: "VllmConfig") -> int:
    """Over how many ranks the heads are spread; the ranks' number is a
    multiple of it."""
    ranks = vllm_config.parallel_config.tensor_parallel_size
    if spec.max_tp_shards is not None:
        shards = min(ranks, spec.max_tp_shards)
    elif isinstance(spec, MLAAttentionSpec | SlidingWindowMLASpec):
        shards = 1
    else:
        total = vllm_config.model_config.get_total_num_kv_heads()
        replicated = total < ranks and spec.num_kv_heads == 1
        # Where the layer has another number of heads than the model, whether
        # it is replicated is not known: every rank keeps its own.
        shards = total if replicated else ranks
    if ranks % shards != 0:
        raise UnsupportedConfiguration(
            f"tensor_parallel_size {ranks} is no multiple of the {shards} "
            "ranks that hold different heads"
        )
    return shards


def _slice_count(
    where: str, heads: int, shards: int, config: "ConnectorConfig"
) -> int:
    wanted = config.slice_count
    if wanted is None:
        count = shards
    else:
        # Fewer heads than slices: one slice a head, as MLA's one.
        count = min(wanted, heads)
    if count % shards != 0 or heads % count != 0 or count > _SLICES_MAX:
        raise UnsupportedConfiguration(
            f"{where}: {count} slices of {heads} heads over {shards} ranks; "
            "the slices must be a multiple of the ranks and divide the heads, "
            f"and be {_SLICES_MAX} at most (kvferry.slice_count)"
        )
    return count


def _dtype(
    vllm_config: "VllmConfig",
    parts: list[Part],
    kv_cache_config: "KVCacheConfig",
) -> str:
    """What decides the meaning of a page's bytes besides its geometry."""
    specs = {
        name: spec
        for group in kv_cache_config.kv_cache_groups
        for name, spec in _layer_specs(group)
    }
    cells: list[str] = []
    for part in parts:
        spec = specs[part.layer_names[0]]
        assert isinstance(spec, AttentionSpec)
        cells.append(
            f"{str(spec.dtype).removeprefix('torch.')}"
            f"/{spec.kv_quant_mode.name.lower()}"
            f"/{spec.head_size}+{spec.head_size_v}"
        )
    model = vllm_config.model_config
    words = [
        PAGE_FORMAT,
        f"cache={vllm_config.cache_config.cache_dtype}",
        f"model={str(model.dtype).removeprefix('torch.')}",
        f"weights={model.quantization or 'plain'}",
        "cells=" + ",".join(dict.fromkeys(cells)),
    ]
    text = " ".join(words)
    if len(text) > _SPEC_STRING_BYTES_MAX:
        raise UnsupportedConfiguration(
            f"the description of the pages, {text!r}, is over "
            f"{_SPEC_STRING_BYTES_MAX} bytes"
        )
    return text
