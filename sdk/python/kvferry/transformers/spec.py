"""What of a model's configuration decides the namespace and its groups."""

import hashlib
import json
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from kvferry import GroupSpec
from kvferry.errors import InvalidArgument, Unimplemented

FULL = "full_attention"
SLIDING = "sliding_attention"

# What DynamicCache keeps such a layer in. An exact class: one derived from it
# keeps more than K and V of every token.
_CLASSES = {FULL: DynamicLayer, SLIDING: DynamicSlidingWindowLayer}


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one kind: a group of the namespace."""

    number: int  # in the namespace
    layers: tuple[int, ...]  # of the model
    window: int  # tokens that a query sees, itself included; 0: all
    heads: int  # KV heads of all slices
    head_dim: int
    spec: GroupSpec

    @property
    def slice_heads(self) -> int:
        return self.spec.head_count


@dataclass(frozen=True)
class CacheSpec:
    """The namespace of one model, revision and element type."""

    name: str
    model: str
    revision: str
    dtype: torch.dtype
    block_tokens: int
    slices: int
    groups: tuple[LayerGroup, ...]

    @property
    def dtype_name(self) -> str:
        return dtype_name(self.dtype)

    @property
    def group_specs(self) -> list[GroupSpec]:
        return [group.spec for group in self.groups]

    # A tail block counts in a hit only where nothing but the prefix decides.
    @property
    def has_tails(self) -> bool:
        return len(self.groups) == 1 and self.groups[0].window == 0


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cache_spec(
    config: Any,
    *,
    dtype: torch.dtype | None = None,
    block_tokens: int = 16,
    slices: int = 1,
    name: str | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> CacheSpec:
    """Derives the namespace from a model's configuration.

    `model` defaults to what the model was loaded from, `revision` to its
    commit, or else to a digest of the configuration; `name` follows from
    `model`. Weights that are the same must have the same, and others must not.

    Raises Unimplemented for a layer that is neither full nor sliding
    attention, and InvalidArgument for what is missing or does not divide.
    """
    text = config.get_text_config(decoder=True)
    dtype = dtype or getattr(config, "dtype", None)
    if not isinstance(dtype, torch.dtype):
        raise InvalidArgument(
            f"dtype {dtype!r} is no torch.dtype; the configuration names none"
        )
    model = model or getattr(config, "_name_or_path", None)
    if not model:
        raise InvalidArgument(
            "model is empty, and the configuration was not loaded from "
            "anywhere: name the weights"
        )
    if revision is None:
        revision = getattr(config, "_commit_hash", None) or digest(text)
    return CacheSpec(
        name=name or namespace_name(model),
        model=model,
        revision=revision,
        dtype=dtype,
        block_tokens=block_tokens,
        slices=slices,
        groups=_groups(text, dtype.itemsize, block_tokens, slices),
    )


def digest(config: Any) -> str:
    """Of everything in a configuration that can change what K and V are."""
    content = config.to_dict()
    # Who wrote it, and in what the weights are stored: the namespace has the
    # cache's element type itself.
    for field in ("transformers_version", "dtype", "torch_dtype"):
        content.pop(field, None)
    text = json.dumps(content, sort_keys=True, default=str)
    return f"config-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def namespace_name(model: str) -> str:
    """A namespace's name has no slashes and at most 128 bytes."""
    kept = [c if c.isascii() and (c.isalnum() or c in "._-") else "-"
            for c in model]  # fmt: skip
    return "".join(kept).strip("-.")[-96:] or "transformers"


def _groups(
    config: Any, element_bytes: int, block_tokens: int, slices: int
) -> tuple[LayerGroup, ...]:
    if block_tokens < 1 or slices < 1:
        raise InvalidArgument(
            f"block_tokens {block_tokens} and slices {slices} must be 1 or more"
        )
    kinds = _layer_kinds(config)
    groups = []
    for kind in (FULL, SLIDING):
        layers = [i for i, (found, _) in enumerate(kinds) if found == kind]
        if not layers:
            continue
        heads, head_dim = _geometry(kinds, layers, slices)
        window = 0
        if kind == SLIDING:
            window = max(_window(kinds[i][1], i) for i in layers)
        # A hit that covers the whole prompt is given back but for its last
        # token. At any boundary the window of the token before it is covered,
        # too, when the blocks have as many tokens as the window.
        trailing = -(-window // block_tokens)
        groups.append(
            LayerGroup(
                number=len(groups),
                layers=tuple(layers),
                window=window,
                heads=heads,
                head_dim=head_dim,
                spec=GroupSpec(
                    "sliding" if window else "full",
                    block_tokens=block_tokens,
                    layer_count=len(layers),
                    kv_count=2,
                    head_count=heads // slices,
                    head_bytes=head_dim * element_bytes,
                    slice_count=slices,
                    rule="trailing" if window else "all_prefix",
                    trailing_blocks=trailing,
                ),
            )
        )
    return tuple(groups)


def _layer_kinds(config: Any) -> list[tuple[str, Any]]:
    """Each cached layer's kind and its own view of the configuration."""
    # Newer versions let layers differ; older ones have one view for all.
    views: SequenceOf[Any] = getattr(config, "per_layer_config", None) or [
        config
    ] * int(config.num_hidden_layers)
    names = getattr(config, "layer_types", None)
    kinds = [
        (names[i] if names is not None else _kind(view), view)
        for i, view in enumerate(views)
    ]
    # Layers that read another's K and V have no cache.
    shared = getattr(config, "num_kv_shared_layers", None) or 0
    kinds = kinds[: len(kinds) - shared]

    for i, (kind, view) in enumerate(kinds):
        if kind not in _CLASSES:
            raise Unimplemented(
                f"layer {i} is of type {kind!r}: only {FULL!r} and {SLIDING!r} "
                f"are supported"
            )
        latent = getattr(view, "kv_lora_rank", None)
        if latent is not None:
            raise Unimplemented(
                f"layer {i} is of type 'multi-head latent attention' "
                f"(kv_lora_rank {latent}): only {FULL!r} and {SLIDING!r} are "
                f"supported"
            )
    # The configuration's words are one thing, what the cache does another.
    layers = DynamicCache(config=config).layers
    if len(layers) != len(kinds):
        raise Unimplemented(
            f"the cache has {len(layers)} layers, the configuration names "
            f"{len(kinds)}"
        )
    for i, (layer, (kind, _)) in enumerate(zip(layers, kinds)):
        if type(layer) is not _CLASSES[kind]:
            raise Unimplemented(
                f"layer {i} is of type {type(layer).__name__}: only "
                f"{FULL!r} and {SLIDING!r} are supported"
            )
    return kinds


def _kind(config: Any) -> str:
    """Of a layer whose configuration does not say."""
    if getattr(config, "sliding_window", None) is not None:
        return SLIDING
    if getattr(config, "attention_chunk_size", None) is not None:
        return "chunked_attention"
    return FULL


def _window(config: Any, layer: int) -> int:
    window = int(config.sliding_window)
    if window < 2:
        raise Unimplemented(
            f"layer {layer} is of type {SLIDING!r} with a window of {window}: "
            f"2 or more are supported"
        )
    return window


def _geometry(
    kinds: list[tuple[str, Any]], layers: list[int], slices: int
) -> tuple[int, int]:
    """KV heads and their dimension, which a group's layers must share."""
    found: dict[tuple[int, int], int] = {}
    for i in layers:
        config = kinds[i][1]
        attention = int(config.num_attention_heads)
        heads = getattr(config, "num_key_value_heads", None) or attention
        dim = getattr(config, "head_dim", None)
        dim = dim or int(config.hidden_size) // attention
        found.setdefault((int(heads), int(dim)), i)
    if len(found) > 1:
        text = "; ".join(
            f"layer {i} has {heads} KV heads of {dim}"
            for (heads, dim), i in found.items()
        )
        raise Unimplemented(
            f"layers of type {kinds[layers[0]][0]!r} differ: {text}"
        )
    heads, dim = next(iter(found))
    if heads % slices != 0:
        raise InvalidArgument(
            f"slices {slices} do not divide {heads} KV heads of layer "
            f"{layers[0]}"
        )
    return heads, dim
