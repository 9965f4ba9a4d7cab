"""An engine's paged memory: what it copies, and what it refuses."""

import gc
import weakref

import kvferry
import numpy as np
import pytest
from kvferry import errors
from support.blocks import small_group
from support.engine_memory import (
    BLOCKS,
    GROUP,
    HEAD_BYTES,
    HEADS,
    KV,
    LAYERS,
    ORDERS,
    make_engine,
)


@pytest.mark.parametrize("order", ORDERS)
def test_gather_and_scatter(order: str) -> None:
    group = small_group(**GROUP)
    engine = make_engine(order, group)
    page = np.zeros(group.page_bytes, np.uint8)
    for block in (0, 4, BLOCKS - 1):
        engine.paged.gather(block, 0, page)
        assert np.array_equal(page, engine.page(block))

    before = [layer.copy() for layer in engine.layers]
    filling = np.random.default_rng(9).integers(
        0, 256, group.page_bytes, dtype=np.uint8
    )
    engine.paged.scatter(5, 0, filling)
    assert np.array_equal(engine.page(5), filling)
    for layer, old in zip(engine.layers, before, strict=True):
        for block in set(range(BLOCKS)) - {5}:
            assert np.array_equal(layer[:, block], old[:, block])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("valid", [1, 15])
def test_a_tail_s_other_tokens_are_left_alone(order: str, valid: int) -> None:
    group = small_group(**GROUP)
    engine = make_engine(order, group)
    before = [layer.copy() for layer in engine.layers]
    filling = np.full(group.page_bytes, 7, np.uint8)
    engine.paged.scatter(2, 0, filling, valid)
    for layer, old in zip(engine.layers, before, strict=True):
        assert (layer[:, 2, :valid] == 7).all()
        assert np.array_equal(layer[:, 2, valid:], old[:, 2, valid:])


def test_slices_are_heads() -> None:
    group = small_group(slice_count=2, **GROUP)
    engine = make_engine("kbht", group, slices=2)
    page = np.zeros(group.page_bytes, np.uint8)
    for slice in range(2):
        engine.paged.gather(3, slice, page)
        assert np.array_equal(page, engine.page(3, slice))
    with pytest.raises(errors.InvalidArgument, match="slice 2"):
        engine.paged.gather(3, 2, page)

    # A rank whose memory has the second slice alone.
    rank = make_engine("bkth", group, slice_first=1, slice_count=1)
    rank.paged.gather(3, 1, page)
    assert np.array_equal(page, rank.page(3))
    with pytest.raises(errors.InvalidArgument, match="slice 0"):
        rank.paged.gather(3, 0, page)


# Goal    Blocks of 16 tokens in an engine whose kernels have blocks of 4.
def test_sub_blocks() -> None:
    group = small_group(**GROUP)
    memory = np.random.default_rng(4).integers(
        0, 256, (LAYERS, 8 * 4, KV, 4, HEADS, HEAD_BYTES), dtype=np.uint8
    )
    strides = memory.strides
    layers = [
        kvferry.PagedLayer(
            memory[i].__array_interface__["data"][0],
            block_stride=strides[1],
            kv_stride=strides[2],
            token_stride=strides[3],
            head_stride=strides[4],
        )
        for i in range(LAYERS)
    ]
    paged = kvferry.PagedMemory(group, layers, 8, sub_blocks=4, owner=memory)
    page = np.zeros(group.page_bytes, np.uint8)
    paged.gather(5, 0, page)
    expected = memory[:, 20:24].transpose(0, 2, 1, 3, 4, 5).reshape(-1)
    assert np.array_equal(page, expected)
    with pytest.raises(errors.InvalidArgument):
        kvferry.PagedMemory(group, layers, 8, sub_blocks=3)


def test_pages_of_another_size() -> None:
    group = small_group(**GROUP)
    engine = make_engine("kbth", group)
    for size in (0, group.page_bytes - 1, group.page_bytes + 1):
        for call in (engine.paged.gather, engine.paged.scatter):
            with pytest.raises(errors.InvalidArgument, match=str(size)):
                call(0, 0, bytearray(size))
    with pytest.raises(errors.InvalidArgument):
        engine.paged.gather(0, 0, bytes(group.page_bytes))  # read-only
    for block, tail in ((BLOCKS, 0), (-1, 0), (0, 17), (0, -1)):
        with pytest.raises(errors.InvalidArgument):
            engine.paged.gather(block, 0, bytearray(group.page_bytes), tail)


@pytest.mark.parametrize(
    ("layers", "count", "text"),
    [
        (0, BLOCKS, "layer_count is 0"),
        (LAYERS + 1, BLOCKS, "4"),
        (LAYERS, 0, "block"),
        (LAYERS, -1, "block_count: -1"),
    ],
)
def test_wrong_memory(layers: int, count: int, text: str) -> None:
    layer = kvferry.PagedLayer(64, block_stride=2048, token_stride=64)
    with pytest.raises(errors.InvalidArgument, match=text):
        kvferry.PagedMemory(small_group(**GROUP), [layer] * layers, count)


def test_a_layer_without_an_address() -> None:
    layer = kvferry.PagedLayer(0, block_stride=2048, token_stride=64)
    with pytest.raises(errors.InvalidArgument, match="layer 0"):
        kvferry.PagedMemory(small_group(**GROUP), [layer] * LAYERS, 1)
    layer.base = 4096
    assert "4096" in repr(layer)
    assert "1 blocks" in repr(
        kvferry.PagedMemory(small_group(**GROUP), [layer] * LAYERS, 1)
    )


class Owner:
    """Something that can be watched."""

    paged: kvferry.PagedMemory


def test_the_owner_lives_as_long_as_the_memory() -> None:
    layer = kvferry.PagedLayer(4096, block_stride=2048, token_stride=64)
    owner = Owner()
    alive = weakref.ref(owner)
    paged = kvferry.PagedMemory(
        small_group(**GROUP), [layer] * LAYERS, 1, owner=owner
    )
    del owner
    gc.collect()
    assert alive() is not None
    del paged
    assert alive() is None


def test_an_owner_that_has_the_memory_is_collected() -> None:
    layer = kvferry.PagedLayer(4096, block_stride=2048, token_stride=64)
    owner = Owner()
    alive = weakref.ref(owner)
    owner.paged = kvferry.PagedMemory(
        small_group(**GROUP), [layer] * LAYERS, 1, owner=owner
    )
    del owner
    gc.collect()
    assert alive() is None
