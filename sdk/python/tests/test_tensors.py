"""kvferry.paged_memory: tensors of several libraries as PagedMemory."""

from types import SimpleNamespace
from typing import Any

import kvferry
import numpy as np
import pytest
from kvferry import errors
from numpy.typing import NDArray
from support.blocks import small_group
from support.engine_memory import (
    BLOCKS,
    GROUP,
    HEAD_BYTES,
    HEADS,
    KV,
    LAYERS,
    TOKENS,
)

# A float16 is half of it.
DIMENSION = HEAD_BYTES // 2


def arrays(*shape: int, seed: int = 3) -> list[NDArray[np.float16]]:
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 1 << 16, shape, np.uint16).view(np.float16)
        for _ in range(LAYERS)
    ]


def page(layers: list[NDArray[np.float16]], block: int) -> NDArray[np.uint8]:
    """Of layers [k][b][t][h][d]."""
    parts = [layer[:, block].reshape(-1) for layer in layers]
    return np.concatenate(parts).view(np.uint8)


def gathered(
    memory: kvferry.PagedMemory, block: int, group: kvferry.GroupSpec
) -> NDArray[np.uint8]:
    result = np.zeros(group.page_bytes, np.uint8)
    memory.gather(block, 0, result)
    return result


@pytest.mark.parametrize("axes", ["kbthd", "bkhtd", "btkhd"])
def test_numpy_s_in_any_order(axes: str) -> None:
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    moved = [
        np.ascontiguousarray(layer.transpose(["kbthd".index(a) for a in axes]))
        for layer in layers
    ]
    memory = kvferry.paged_memory(group, moved, axes)
    assert not memory.on_device
    for block in (0, BLOCKS - 1):
        assert np.array_equal(
            gathered(memory, block, group), page(layers, block)
        )


def test_pairs_of_k_and_v() -> None:
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    pairs = [(layer[0].copy(), layer[1].copy()) for layer in layers]
    memory = kvferry.paged_memory(group, pairs, "bthd")
    assert np.array_equal(gathered(memory, 3, group), page(layers, 3))


def test_one_latent_and_smaller_blocks() -> None:
    group = small_group(
        kv_count=1, head_count=1, head_bytes=HEAD_BYTES, layer_count=LAYERS
    )
    layers = arrays(2 * BLOCKS, TOKENS // 2, DIMENSION)
    memory = kvferry.paged_memory(group, layers, "btd")
    expected = np.concatenate([layer[4:6].reshape(-1) for layer in layers])
    assert np.array_equal(gathered(memory, 2, group), expected.view(np.uint8))
    with pytest.raises(errors.InvalidArgument):
        gathered(memory, BLOCKS, group)


def test_pytorch_s() -> None:
    torch = pytest.importorskip("torch")
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    tensors = [torch.from_numpy(layer.view(np.int16)) for layer in layers]
    for dtype in (torch.int16, torch.bfloat16, torch.float16):
        memory = kvferry.paged_memory(
            group, [tensor.view(dtype) for tensor in tensors]
        )
        assert np.array_equal(gathered(memory, 2, group), page(layers, 2))
    memory = kvferry.paged_memory(
        small_group(**GROUP),
        [tensor.view(torch.float8_e4m3fn) for tensor in tensors],
    )
    assert np.array_equal(gathered(memory, 2, group), page(layers, 2))


def cuda_like(layer: NDArray[Any], device: str = "cuda:1") -> Any:
    """What PyTorch says of a tensor, without its memory."""
    return SimpleNamespace(
        data_ptr=lambda: 1 << 40,
        element_size=lambda: layer.itemsize,
        shape=layer.shape,
        stride=lambda: [s // layer.itemsize for s in layer.strides],
        device=Device(device),
    )


class Device:
    def __init__(self, name: str) -> None:
        self._name = name
        self.type = name.split(":")[0]

    def __str__(self) -> str:
        return self._name


def test_tensors_of_a_device() -> None:
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    by_interface = [
        SimpleNamespace(
            __cuda_array_interface__={
                "shape": layer.shape,
                "typestr": "<f2",
                "data": (1 << 40, False),
                "version": 3,
                **({"strides": layer.strides} if i else {}),
            }
        )
        for i, layer in enumerate(layers)
    ]
    for tensors in (by_interface, [cuda_like(layer) for layer in layers]):
        memory = kvferry.paged_memory(group, tensors)
        assert memory.on_device
        with pytest.raises(errors.FailedPrecondition, match="device"):
            gathered(memory, 0, group)
    with pytest.raises(errors.InvalidArgument, match="not all on one device"):
        kvferry.paged_memory(
            group, [*map(cuda_like, layers[1:]), layers[0]]
        )
    with pytest.raises(errors.InvalidArgument, match="on xpu:0"):
        kvferry.paged_memory(
            group, [cuda_like(layer, "xpu:0") for layer in layers]
        )


def test_layers_are_kept_alive() -> None:
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    expected = page(layers, 1)
    memory = kvferry.paged_memory(group, layers)
    del layers
    assert np.array_equal(gathered(memory, 1, group), expected)


@pytest.mark.parametrize(
    ("axes", "shape", "text"),
    [
        ("kbtdd", (KV, BLOCKS, TOKENS, HEADS, DIMENSION), "axes"),
        ("kbthx", (KV, BLOCKS, TOKENS, HEADS, DIMENSION), "axes"),
        ("khd", (KV, HEADS, DIMENSION), "axes"),
        ("kbthd", (BLOCKS, TOKENS, HEADS, DIMENSION), "4 dimensions"),
        ("kbthd", (3, BLOCKS, TOKENS, HEADS, DIMENSION), "3 K and V"),
        ("kbthd", (KV, BLOCKS, TOKENS, 5, DIMENSION), "5 heads"),
        ("kbthd", (KV, BLOCKS, TOKENS, HEADS, 3), "6 bytes a head"),
        ("kbthd", (KV, BLOCKS, 7, HEADS, DIMENSION), "of 7 tokens"),
        ("kbthd", (KV, BLOCKS, 8, HEADS, DIMENSION), "9 blocks of 8"),
        ("kbtdh", (KV, BLOCKS, TOKENS, DIMENSION, HEADS), "contiguous"),
    ],
)
def test_what_does_not_fit_is_refused(
    axes: str, shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=text):
        kvferry.paged_memory(small_group(**GROUP), arrays(*shape), axes)


def test_layers_that_differ_are_refused() -> None:
    group = small_group(**GROUP)
    layers = arrays(KV, BLOCKS, TOKENS, HEADS, DIMENSION)
    for wrong, text in (
        ([], "none"),
        ([*layers[:-1], layers[-1][:, :-1]], "differ"),
        ([(layers[0], layers[0], layers[0])] * LAYERS, "3 tensors"),
        ([(layers[0], layers[0])] * LAYERS, "tensors of their own"),
        (layers[:-1], None),
        ([object()] * LAYERS, None),
    ):
        with pytest.raises((errors.InvalidArgument, TypeError), match=text):
            kvferry.paged_memory(group, wrong)
