"""vLLM's tensors to pages and back, in every layout, by every way to copy."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kvferry import Client, Gpu
from kvferry.vllm.config import ConnectorConfig
from kvferry.vllm.device_pages import DevicePages
from kvferry.vllm.gpu_pages import GpuPages
from kvferry.vllm.metadata import NO_BLOCK, pack_ids
from kvferry.vllm.regions import HostPages, Pages, pages_of
from kvferry.vllm.spec import (
    NamespaceLayout,
    UnsupportedConfiguration,
    layout_of,
)
from support.daemon import Daemon
from vllm.config import VllmConfig
from unit_support import (
    BLOCKS,
    CELL,
    Tensors,
    blocks_of,
    cache_config,
    fill_randomly,
    tensors,
)
from vllm.v1.kv_cache_layout import KVCacheLayout

from harness.engine import EngineSpec

@pytest.fixture(scope="module")
def vllm_config(tmp_path_factory: pytest.TempPathFactory) -> VllmConfig:
    return EngineSpec().build(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture
def layout(vllm_config: VllmConfig) -> NamespaceLayout:
    return layout_of(
        vllm_config,
        cache_config(KVCacheLayout.LBHNC),
        ConnectorConfig(slice_count=2),
    )


@pytest.fixture
def client(daemon: Daemon, layout: NamespaceLayout) -> Iterator[Client]:
    with Client(
        "pages",
        groups=[part.spec for part in layout.parts],
        socket_path=daemon.socket_path,
    ) as attached:
        yield attached


@pytest.fixture
def link(client: Client) -> Iterator[SimpleNamespace]:
    """What pages see of a DaemonLink. The daemon serves no device: blocks are
    in host memory, and the copies of a Gpu are on the emulated one."""
    with Gpu(client, "emulated:0") as gpu:
        yield SimpleNamespace(device="emulated:0", gpu=gpu)


def save(
    client: Client, pages: Pages, keys: bytes, ids: list[int]
) -> None:
    with client.open_publication() as publication:
        first = publication.begin(keys)
        transfer = pages.save(publication, first, pack_ids(ids), None)
        if transfer is not None:
            transfer.wait(20)
        publication.commit_and_wait(first, len(ids))


def load(client: Client, pages: Pages, keys: bytes, ids: list[int]) -> None:
    with client.match(keys) as prefix:
        assert prefix.block_count() == len(ids)
        transfer = pages.load(prefix, pack_ids(ids), None)
        if transfer is not None:
            transfer.wait(20)


WAYS = ["host", "torch", "gpu"]
by_way = pytest.mark.parametrize("way", WAYS)


def pages_by(
    way: str,
    layout: NamespaceLayout,
    memory: Tensors,
    link: SimpleNamespace,
) -> Pages:
    pages = pages_of(
        layout,
        layout.parts[0],
        0,
        memory,
        BLOCKS,
        by_torch=way == "torch",
        link=link if way == "gpu" else None,  # type: ignore[arg-type]
    )
    kinds = {"host": HostPages, "torch": DevicePages, "gpu": GpuPages}
    assert isinstance(pages, kinds[way])
    return pages


@pytest.mark.parametrize("source", list(KVCacheLayout), ids=lambda v: v.name)
@by_way
def test_saved_in_one_layout_loaded_in_all(
    client: Client,
    layout: NamespaceLayout,
    link: SimpleNamespace,
    source: KVCacheLayout,
    way: str,
) -> None:
    keys = os.urandom(4 * 16)
    memory = tensors(source, None)
    fill_randomly(memory, 1)
    pages = pages_by(way, layout, memory, link)
    source_ids, target_ids = [7, 2, 3, 11], [1, 10, 4, 5]
    expected = blocks_of(memory, source_ids)

    save(client, pages, keys, source_ids)

    # The canonical page: layer, token, head of the slice, cell.
    with client.match(keys) as prefix:
        for block in range(4):
            for slice_number in range(2):
                page = np.frombuffer(
                    prefix.page(block, slice_number), np.uint8
                ).reshape(3, 16, 2, CELL)
                heads = slice(2 * slice_number, 2 * slice_number + 2)
                assert (page == expected[block, :, :, heads]).all()
                del page
    for target in KVCacheLayout:
        for other in WAYS:
            back = tensors(target, None)
            fill_randomly(back, 2)
            before = blocks_of(back, list(range(BLOCKS)))
            load(
                client,
                pages_by(other, layout, back, link),
                keys,
                target_ids,
            )
            after = blocks_of(back, list(range(BLOCKS)))
            assert (after[target_ids] == expected).all()
            rest = [b for b in range(BLOCKS) if b not in target_ids]
            assert (after[rest] == before[rest]).all()


@by_way
@pytest.mark.parametrize("kernel", [1, 4, 8])
@pytest.mark.parametrize(
    "target", [KVCacheLayout.LBHNC, KVCacheLayout.LBNHC], ids=lambda v: v.name
)
def test_kernel_blocks(
    client: Client,
    layout: NamespaceLayout,
    link: SimpleNamespace,
    target: KVCacheLayout,
    kernel: int,
    way: str,
) -> None:
    keys = os.urandom(3 * 16)
    memory, back = tensors(target, kernel), tensors(target, None)
    fill_randomly(memory, 3)

    save(
        client,
        pages_by(way, layout, memory, link),
        keys,
        [4, 9, 1],
    )
    load(
        client,
        pages_by(way, layout, back, link),
        keys,
        [1, 2, 3],
    )

    assert (
        blocks_of(back, [1, 2, 3]) == blocks_of(memory, [4, 9, 1])
    ).all()


@by_way
def test_blocks_to_skip(
    client: Client, layout: NamespaceLayout, link: SimpleNamespace, way: str
) -> None:
    keys = os.urandom(3 * 16)
    memory, back = (tensors(KVCacheLayout.LBHNC, None) for _ in range(2))
    fill_randomly(memory, 4)
    part = layout.parts[0]
    save(client, pages_of(layout, part, 0, memory, BLOCKS), keys, [1, 2, 3])

    load(
        client,
        pages_by(way, layout, back, link),
        keys,
        [NO_BLOCK, 5, NO_BLOCK],
    )

    assert (blocks_of(back, [5]) == blocks_of(memory, [2])).all()
    untouched = [b for b in range(BLOCKS) if b != 5]
    assert not blocks_of(back, untouched).any()


def test_inference_tensors(client: Client, layout: NamespaceLayout) -> None:
    """vLLM may make its cache in this mode; copies come from other threads."""
    keys = os.urandom(16)
    with torch.inference_mode():
        memory, back = (tensors(KVCacheLayout.LBHNC, None) for _ in range(2))
        fill_randomly(memory, 5)
    part = layout.parts[0]

    save(
        client,
        pages_of(layout, part, 0, memory, BLOCKS, by_torch=True),
        keys,
        [1],
    )
    load(
        client,
        pages_of(layout, part, 0, back, BLOCKS, by_torch=True),
        keys,
        [2],
    )

    with torch.inference_mode():
        assert (blocks_of(back, [2]) == blocks_of(memory, [1])).all()


Damage = Callable[[Tensors], object]


def lose_a_layer(memory: Tensors) -> object:
    return memory.pop("b")


def transpose(memory: Tensors) -> object:
    """Heads and tokens the other way round."""
    memory["b"] = memory["b"].transpose(1, 2)
    return None


def spread_cells(memory: Tensors) -> object:
    memory["b"] = torch.zeros(BLOCKS, 4, 16, 2 * 16, dtype=torch.bfloat16)[
        ..., ::2
    ]
    return None


def other_type(memory: Tensors) -> object:
    memory["b"] = memory["b"].to(torch.float32)
    return None


def fewer_blocks(memory: Tensors) -> object:
    memory["b"] = memory["b"][: BLOCKS - 1]
    return None


def flat(memory: Tensors) -> object:
    memory["b"] = memory["b"].flatten()
    return None


def split_one(memory: Tensors) -> object:
    memory["b"] = torch.zeros(2 * BLOCKS, 4, 8, 16, dtype=torch.bfloat16)
    return None


@pytest.mark.parametrize(
    "damage",
    [
        lose_a_layer,
        transpose,
        spread_cells,
        other_type,
        fewer_blocks,
        flat,
        split_one,
    ],
)
def test_other_tensors_are_refused(
    layout: NamespaceLayout, damage: Damage
) -> None:
    memory = tensors(KVCacheLayout.LBHNC, None)
    damage(memory)

    with pytest.raises(UnsupportedConfiguration, match="cache group 0"):
        pages_of(layout, layout.parts[0], 0, memory, BLOCKS)
