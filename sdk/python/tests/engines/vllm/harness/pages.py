"""A worker's KV pages: real tensors in the layout vLLM gives them."""

import math
from typing import Any

import numpy as np
import torch
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.kv_cache_layout import KVCacheLayout
from vllm.v1.worker.utils import allocate_kv_cache

from harness.oracle import Array


class Pages:
    """Allocated by vLLM's own code and filled with rubbish at first, so that
    a page read before it was written shows."""

    def __init__(
        self,
        config: KVCacheConfig,
        layout: KVCacheLayout,
        kernel_block_sizes: list[int] | None,
    ) -> None:
        self.tensors: dict[str, torch.Tensor] = allocate_kv_cache(
            config, torch.device("cpu"), layout, kernel_block_sizes
        )
        self.group_of: dict[str, int] = {}
        self.block_tokens: list[int] = []
        for index, group in enumerate(config.kv_cache_groups):
            self.block_tokens.append(group.kv_cache_spec.block_size)
            for name in group.layer_names:
                self.group_of[name] = index
        self._views = {
            name: tensor.view(torch.uint8).numpy()
            for name, tensor in self.tensors.items()
        }
        rubbish = np.random.default_rng(7)
        for view in self._views.values():
            view[...] = rubbish.integers(0, 256, view.shape, np.uint8)

    def words(self, layer: str) -> int:
        """64-bit words of one token's KV of one head."""
        return self._views[layer].shape[3] // 8

    def head_count(self, layer: str) -> int:
        return self._views[layer].shape[1]

    def read(self, layer: str, table: list[int], first: int, end: int) -> Array:
        """KV of positions [first, end): [token, head, word]."""
        view = self._views[layer]
        blocks, offsets = self._places(layer, table, first, end)
        heads = np.arange(view.shape[1])
        return view[blocks[:, None], heads[None, :], offsets[:, None]].view(
            np.uint64
        )

    def write(
        self, layer: str, table: list[int], first: int, values: Array
    ) -> None:
        view = self._views[layer]
        end = first + len(values)
        blocks, offsets = self._places(layer, table, first, end)
        heads = np.arange(view.shape[1])
        view[blocks[:, None], heads[None, :], offsets[:, None]] = values.view(
            np.uint8
        )

    def zero(self, block_ids: list[int]) -> None:
        for name, view in self._views.items():
            ratio = self._ratio(name)
            for block in block_ids:
                view[block * ratio : (block + 1) * ratio] = 0

    def copy(self, copies: list[Any]) -> None:
        for name, view in self._views.items():
            ratio = self._ratio(name)
            for source, target in copies:
                view[target * ratio : (target + 1) * ratio] = view[
                    source * ratio : (source + 1) * ratio
                ]

    def _ratio(self, layer: str) -> int:
        tokens = self.block_tokens[self.group_of[layer]]
        return math.ceil(tokens / self._views[layer].shape[2])

    def _places(
        self, layer: str, table: list[int], first: int, end: int
    ) -> tuple[Array, Array]:
        tokens = self.block_tokens[self.group_of[layer]]
        positions = np.arange(first, end)
        blocks = np.asarray(table)[positions // tokens]
        if (blocks == 0).any():
            raise AssertionError(
                f"{layer}: positions {first} to {end} are to be read or "
                f"written in the null block: {table}"
            )
        kernel_tokens = self._views[layer].shape[2]
        within = positions % tokens
        return (
            blocks * self._ratio(layer) + within // kernel_tokens,
            within % kernel_tokens,
        )
