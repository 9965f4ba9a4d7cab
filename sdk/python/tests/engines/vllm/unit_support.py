"""A small cache of three layers, for tests of the connector's parts."""

import numpy as np
import torch
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
    compute_layout_strides,
)
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.worker.utils import allocate_kv_cache

BLOCKS = 12
LAYERS = ["a", "b", "c"]
SPEC = FullAttentionSpec(
    block_size=16, num_kv_heads=4, head_size=8, dtype=torch.bfloat16
)
CELL = 2 * 8 * 2
BLOCK_BYTES = len(LAYERS) * 16 * 4 * CELL

Tensors = dict[str, torch.Tensor]


def cache_config(layout: KVCacheLayout) -> KVCacheConfig:
    layer_stride, block_stride, *_ = compute_layout_strides(
        SPEC, BLOCKS, len(LAYERS), layout
    )
    return KVCacheConfig(
        num_blocks=BLOCKS,
        kv_cache_tensors=[
            KVCacheTensor(
                size=BLOCKS * BLOCK_BYTES,
                layers=LAYERS,
                layer_stride=layer_stride,
                block_stride=block_stride,
            )
        ],
        kv_cache_groups=[KVCacheGroupSpec(LAYERS, SPEC)],
    )


def tensors(layout: KVCacheLayout, kernel: int | None) -> Tensors:
    return allocate_kv_cache(
        cache_config(layout),
        torch.device("cpu"),
        layout,
        None if kernel is None else [kernel],
    )


def blocks_of(memory: Tensors, ids: list[int]) -> np.ndarray:
    """[block, layer, token, head, byte], whatever the strides."""
    gathered = []
    for name in LAYERS:
        view = memory[name].view(torch.uint8).unflatten(0, (BLOCKS, -1))
        # block, kernel block, head, token, byte
        gathered.append(
            view[ids].transpose(2, 3).reshape(len(ids), 16, 4, CELL)
        )
    return torch.stack(gathered, dim=1).numpy()


def fill_randomly(memory: Tensors, seed: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    for tensor in memory.values():
        view = tensor.view(torch.uint8)
        view.copy_(
            torch.randint(
                0, 256, view.shape, dtype=torch.uint8, generator=numbers
            )
        )
