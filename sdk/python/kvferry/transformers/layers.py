"""The layers of a DynamicCache, and what they still hold."""

from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from kvferry.errors import InvalidArgument
from kvferry.transformers.spec import CacheSpec, LayerGroup


class Held(NamedTuple):
    """K and V of tokens [first, end) of one layer: [1, heads, tokens, dim]."""

    keys: torch.Tensor
    values: torch.Tensor
    first: int
    end: int


class SlidingLayer(DynamicSlidingWindowLayer):
    """A sliding layer that lets go of tokens later.

    The layer of transformers keeps window - 1 tokens, so that of a longer
    prompt almost nothing could be published after the fact, and never a whole
    window of whole blocks. This one remembers besides what its last update
    brought, and `keep_tokens` before that: of every chunk that is published
    before the next one comes all blocks are there, and when nothing was
    published for long, those that a hit at the last boundary needs.
    """

    def __init__(self, sliding_window: int, keep_tokens: int) -> None:
        super().__init__(sliding_window=sliding_window)
        self._keep_tokens = keep_tokens
        self._recent: tuple[torch.Tensor, torch.Tensor] | None = None
        self._recent_end = 0

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        before = self.get_seq_length()
        full = super().update(key_states, value_states, *args, **kwargs)
        self._recent = self._longer(before, full, key_states, value_states)
        self._recent_end = self.get_seq_length()
        return full

    def _longer(
        self,
        before: int,
        full: tuple[torch.Tensor, torch.Tensor],
        key_states: torch.Tensor,
        value_states: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`full`, or what is remembered and the new where that is more."""
        recent = self._recent
        # Cropped, reset or reordered since: what is remembered is not what
        # stands before the new.
        if (
            recent is None
            or self._recent_end != before
            or recent[0].shape[0] != key_states.shape[0]
        ):
            return full
        count = min(self._keep_tokens, recent[0].shape[-2])
        if count + key_states.shape[-2] <= full[0].shape[-2]:
            return full
        return (
            torch.cat([recent[0][..., -count:, :], key_states], dim=-2),
            torch.cat([recent[1][..., -count:, :], value_states], dim=-2),
        )

    def remember(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """What a restore has of the tokens before get_seq_length()."""
        self._recent = (keys, values)
        self._recent_end = self.get_seq_length()

    def remembered(self) -> Held | None:
        end = self.get_seq_length()
        if self._recent is None or self._recent_end != end:
            return None
        keys, values = self._recent
        return Held(keys, values, end - keys.shape[-2], end)


def new_cache(spec: CacheSpec, config: Any, publish: bool) -> DynamicCache:
    """A DynamicCache of the model, able to publish its sliding layers."""
    cache = DynamicCache(config=config)
    if not publish:
        return cache
    for group in spec.groups:
        if group.window == 0:
            continue
        blocks = group.spec.trailing_blocks + 1
        for i in group.layers:
            cache.layers[i] = SlidingLayer(
                cache.layers[i].sliding_window, blocks * spec.block_tokens - 1
            )
    return cache


def held(cache: DynamicCache, group: LayerGroup) -> list[Held]:
    """What the group's layers have; empty before the first forward."""
    found = []
    for i in group.layers:
        if i >= len(cache.layers):
            return []
        layer = cache.layers[i]
        if layer.get_seq_length() == 0:
            return []
        more = layer.remembered() if isinstance(layer, SlidingLayer) else None
        if more is None:
            end = int(layer.get_seq_length())
            first = end - layer.keys.shape[-2]
            more = Held(layer.keys, layer.values, first, end)
        found.append(more)
    return found


def check(
    found: list[Held], group: LayerGroup, heads: int, dtype: torch.dtype
) -> None:
    """Refuses tensors that are not what the namespace was made for."""
    for i, layer in zip(group.layers, found):
        tokens = layer.end - layer.first
        want = (1, heads, tokens, group.head_dim)
        for name, tensor in (("K", layer.keys), ("V", layer.values)):
            if tuple(tensor.shape) != want:
                raise InvalidArgument(
                    f"layer {i}: {name} is {tuple(tensor.shape)}, the "
                    f"namespace has {want} (batch, KV heads, tokens, dim)"
                )
            if tensor.dtype != dtype:
                raise InvalidArgument(
                    f"layer {i}: {name} is {tensor.dtype}, the namespace has "
                    f"{dtype}"
                )


def put(
    layer: Any, keys: torch.Tensor, values: torch.Tensor, tokens: int
) -> None:
    """Gives a new layer K and V of the last of `tokens` tokens.

    `tokens` is what positions and masks come from; a sliding layer keeps
    window - 1 of them.
    """
    kept = keys.shape[-2]
    if hasattr(layer, "sliding_window"):
        kept = min(kept, layer.sliding_window - 1)
    first = keys.shape[-2] - kept
    # An update without tokens sets the layer up, whatever it takes for that.
    layer.update(keys[..., :0, :], values[..., :0, :])
    layer.keys = keys[..., first:, :]
    layer.values = values[..., first:, :]
    if hasattr(layer, "cumulative_length"):
        layer.cumulative_length = tokens
    if isinstance(layer, SlidingLayer):
        layer.remember(keys, values)
