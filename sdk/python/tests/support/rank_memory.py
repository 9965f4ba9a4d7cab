"""An engine's memory of one rank: KV of some slices, in the order a kernel
wants it."""

import numpy as np
from kvferry import GroupSpec, PagedLayer, PagedMemory

from support.rank_payload import page_bytes

# Of (block, kv, token, head, byte), as the layers lie in memory.
ORDERS = {
    "NHD": (1, 0, 2, 3, 4),  # K of all blocks, then V; tokens before heads
    "HND": (0, 1, 3, 2, 4),  # block by block; heads before tokens
    "packed": (0, 2, 3, 1, 4),  # K and V of a head side by side
}


class EngineMemory:
    """Blocks of `group` with the heads of slices [first, first + count)."""

    def __init__(
        self,
        group: GroupSpec,
        first: int,
        count: int,
        block_count: int,
        order: str,
    ) -> None:
        self._group = group
        self._first = first
        shape = (
            block_count,
            group.kv_count,
            group.block_tokens,
            group.head_count * count,
            group.head_bytes,
        )
        axes = ORDERS[order]
        # Seen as [block][kv][token][head][byte], whatever lies where.
        self._layers = [
            np.zeros([shape[a] for a in axes], dtype=np.uint8).transpose(
                np.argsort(axes)
            )
            for _ in range(group.layer_count)
        ]
        self.paged = PagedMemory(
            group,
            [
                PagedLayer(
                    layer.__array_interface__["data"][0],
                    kv_stride=layer.strides[1],
                    block_stride=layer.strides[0],
                    token_stride=layer.strides[2],
                    head_stride=layer.strides[3],
                )
                for layer in self._layers
            ],
            block_count,
            slice_first=first,
            slice_count=count,
            owner=self._layers,
        )

    def write(self, block: int, slice_index: int, key: bytes) -> None:
        """As if the engine had computed that block."""
        page = self._page_of(key, slice_index)
        for layer, part in zip(self._layers, page, strict=True):
            layer[block, :, :, self._heads(slice_index)] = part

    def has(self, block: int, slice_index: int, key: bytes) -> bool:
        page = self._page_of(key, slice_index)
        return all(
            np.array_equal(layer[block, :, :, self._heads(slice_index)], part)
            for layer, part in zip(self._layers, page, strict=True)
        )

    def wipe(self) -> None:
        for layer in self._layers:
            layer[:] = 0xEE

    def _heads(self, slice_index: int) -> slice:
        first = (slice_index - self._first) * self._group.head_count
        return slice(first, first + self._group.head_count)

    def _page_of(self, key: bytes, slice_index: int) -> np.ndarray:
        group = self._group
        return page_bytes(key, slice_index, group.page_bytes).reshape(
            group.layer_count,
            group.kv_count,
            group.block_tokens,
            group.head_count,
            group.head_bytes,
        )
