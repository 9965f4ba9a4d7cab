"""An engine's KV memory as engines lay it out, and plain copies of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kvferry
import numpy as np

# Llama 3 8B: 32 layers of 8 KV heads of 128 numbers of 2 bytes.
LLAMA_8B = kvferry.GroupSpec(
    block_tokens=16, layer_count=32, head_count=8, head_bytes=256
)


@dataclass(frozen=True)
class Layout:
    """How one layer lies in memory: `order` names the axes from the outermost
    to the innermost, of kv, block, token, head; its first byte is so many
    behind a line of 64."""

    name: str
    order: str
    offset: int = 0


LAYOUTS = (
    Layout("NHD", "kbth"),  # one tensor, K before V
    Layout("HND", "bkht"),  # heads before tokens, K and V of a block together
    Layout("cache", "khbt"),  # heads before the whole sequence (transformers)
    # torch's tensors begin at a line; NumPy's large arrays begin here.
    Layout("HND+16", "bkht", offset=16),
)


class EngineCache:
    """`blocks` blocks of `group`, of random bytes, one array a layer."""

    def __init__(
        self, group: kvferry.GroupSpec, blocks: int, layout: Layout, seed: int
    ) -> None:
        sizes = {
            "k": group.kv_count,
            "b": blocks,
            "t": group.block_tokens,
            "h": group.head_count,
        }
        # Words of two bytes, as the numbers would be.
        shape = [sizes[axis] for axis in layout.order] + [group.head_bytes // 2]
        numbers = np.random.default_rng(seed)
        words = int(np.prod(shape))
        self.flat = [
            _placed(words, layout.offset) for _ in range(group.layer_count)
        ]
        for flat in self.flat:
            flat[:] = numbers.integers(0, 1 << 16, words, dtype=np.uint16)
        # Seen as [block][kv][token][head][number].
        self.layers = [
            flat.reshape(shape).transpose(
                [layout.order.index(axis) for axis in "bkth"] + [4]
            )
            for flat in self.flat
        ]
        self.paged = kvferry.PagedMemory(
            group,
            [
                kvferry.PagedLayer(
                    layer.__array_interface__["data"][0],
                    block_stride=layer.strides[0],
                    kv_stride=layer.strides[1],
                    token_stride=layer.strides[2],
                    head_stride=layer.strides[3],
                )
                for layer in self.layers
            ],
            blocks,
            owner=self.flat,
        )
        self.blocks = np.arange(blocks, dtype=np.int64)
        self._group = group

    def page_views(self, pages: Sequence[Any]) -> list[np.ndarray]:
        """Pages as [layer][kv][token][head][number]."""
        group = self._group
        return [
            np.frombuffer(page, dtype=np.uint16).reshape(
                group.layer_count,
                group.kv_count,
                group.block_tokens,
                group.head_count,
                -1,
            )
            for page in pages
        ]


def _placed(words: int, offset: int) -> np.ndarray:
    """An array that begins `offset` bytes behind a line."""
    room = np.empty(words + 32, dtype=np.uint16)
    address = room.__array_interface__["data"][0]
    first = (offset - address) % 64 // 2
    return room[first : first + words]


def copy_strided(
    cache: EngineCache, pages: Sequence[np.ndarray], *, to_pages: bool
) -> None:
    """What one writes in NumPy: a line for each layer of each block."""
    copy = np.copyto
    for block, page in enumerate(pages):
        for at, layer in enumerate(cache.layers):
            if to_pages:
                copy(page[at], layer[block])
            else:
                copy(layer[block], page[at])


def copy_flat(
    cache: EngineCache, pages: Sequence[np.ndarray], *, to_pages: bool
) -> None:
    """memcpy of as many bytes, a page at a time, whatever their order."""
    copy = np.copyto
    words = pages[0].size
    flats = cache.flat
    per_layer = flats[0].size // words
    for at, page in enumerate(pages):
        first = at % per_layer * words
        part = flats[at // per_layer][first : first + words]
        if to_pages:
            copy(page.reshape(-1), part)
        else:
            copy(part, page.reshape(-1))
