"""An engine's paged memory in NumPy, in whatever order of axes."""

from dataclasses import dataclass

import kvferry
import numpy as np
from numpy.typing import NDArray

from support.blocks import Bytes

LAYERS, KV, TOKENS, HEADS, HEAD_BYTES = 3, 2, 16, 2, 32
BLOCKS = 9
GROUP = {"layer_count": LAYERS, "head_count": HEADS, "head_bytes": HEAD_BYTES}

Memory = NDArray[np.uint8]


@dataclass
class Engine:
    """Layers of an engine, all random, each an array [kv][block][token][head]
    [byte] that is a view of memory in the engine's own order."""

    layers: list[Memory]
    paged: kvferry.PagedMemory

    def page(self, block: int, slice: int = 0, heads: int = HEADS) -> Bytes:
        """What a page of the block must hold, in KVFerry's order."""
        head = slice * heads
        parts = [
            layer[:, block, :, head : head + heads].reshape(-1)
            for layer in self.layers
        ]
        return np.concatenate(parts)


def make_engine(
    order: str,
    group: kvferry.GroupSpec,
    *,
    slices: int = 1,
    seed: int = 3,
    **options: int,
) -> Engine:
    """`order`: the engine's axes from the outermost on: k(v), b(lock),
    t(oken), h(ead)."""
    sizes = {"k": KV, "b": BLOCKS, "t": TOKENS, "h": slices * HEADS}
    random = np.random.default_rng(seed)
    layers = []
    for _ in range(LAYERS):
        shape = [*(sizes[axis] for axis in order), HEAD_BYTES]
        memory = random.integers(0, 256, shape, dtype=np.uint8)
        axes = [order.index(axis) for axis in "kbth"]
        layers.append(memory.transpose([*axes, 4]))
    paged = kvferry.PagedMemory(
        group,
        [
            kvferry.PagedLayer(
                layer.__array_interface__["data"][0],
                kv_stride=layer.strides[0],
                block_stride=layer.strides[1],
                token_stride=layer.strides[2],
                head_stride=layer.strides[3],
            )
            for layer in layers
        ],
        BLOCKS,
        owner=layers,
        **options,
    )
    return Engine(layers, paged)


# NHD and HND as vLLM names them, K and V apart and together with the block,
# and packed: a token's K and V, or a head's, beside one another.
ORDERS = ["kbth", "kbht", "bkth", "bkht", "btkh", "bthk", "tbkh"]
