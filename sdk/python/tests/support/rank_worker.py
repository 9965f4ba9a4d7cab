"""What a rank of an engine does, one function a step; a test's Peer calls them.

`state` is the rank's own, from one call to the next.
"""

import random
from types import SimpleNamespace

import kvferry
import numpy as np

from support.rank_memory import ORDERS, EngineMemory
from support.rank_payload import is_page, page_bytes, split_keys

_BLOCKS_MAX = 64


def group_spec(slice_count: int) -> kvferry.GroupSpec:
    """A small model's, of 12 KiB a page."""
    return kvferry.GroupSpec(
        layer_count=3, head_count=2, head_bytes=64, slice_count=slice_count
    )


def attach(
    state: SimpleNamespace,
    socket_path: str,
    slice_count: int,
    slices: range,
    name: str,
    order: str,
) -> None:
    state.client = kvferry.Client(
        "ranks",
        groups=[group_spec(slice_count)],
        model="ranks",
        dtype="int8",
        socket_path=socket_path,
        client_name=name,
    )
    state.slices = slices
    assert order in ORDERS
    state.memory = EngineMemory(
        state.client.groups[0], slices.start, len(slices), _BLOCKS_MAX, order
    )
    state.publication = None


# --- writing -----------------------------------------------------------------


def begin(
    state: SimpleNamespace,
    instance: int,
    publication: int,
    keys: bytes,
    parent: bytes | None,
) -> list[str]:
    """Joins the publication of the group with the rank's slices; the outcome of
    each block."""
    state.publication = state.client.open_publication(
        engine_instance=instance,
        publication=publication,
        slice_first=state.slices.start,
        slice_count=len(state.slices),
    )
    first = state.publication.begin(keys, parent=parent)
    assert first == 0
    state.keys = split_keys(keys)
    return [state.publication.outcome(p) for p in range(len(state.keys))]


def write_pages(state: SimpleNamespace, count: int) -> int:
    """Fills the rank's pages of the first blocks; how many blocks it had to."""
    written = 0
    for position in range(count):
        pages = [state.publication.page(position, s) for s in state.slices]
        if pages[0] is None:
            continue
        for page, s in zip(pages, state.slices, strict=True):
            target = np.frombuffer(page, dtype=np.uint8)
            target[:] = page_bytes(state.keys[position], s, target.size)
        written += 1
    return written


def write_from_engine(state: SimpleNamespace, count: int, seed: int) -> int:
    """The same out of the engine's memory, from blocks in any order."""
    blocks = random.Random(seed).sample(range(_BLOCKS_MAX), count)
    for key, block in zip(state.keys, blocks, strict=False):
        for s in state.slices:
            state.memory.write(block, s, key)
    return state.publication.fill(
        0, state.memory.paged, np.array(blocks, dtype=np.int64)
    )


def commit(state: SimpleNamespace, first: int, count: int) -> None:
    state.publication.commit(first, count)


def commit_and_wait(state: SimpleNamespace, first: int, count: int) -> None:
    state.publication.commit_and_wait(first, count)


def abort(state: SimpleNamespace) -> None:
    """Gives up what is not committed, and leaves the publication."""
    publication, state.publication = state.publication, None
    publication.abort()
    publication.close()


def leave(state: SimpleNamespace) -> None:
    publication, state.publication = state.publication, None
    if publication is not None:
        publication.close()


# --- reading -----------------------------------------------------------------


def read_pages(state: SimpleNamespace, keys: bytes) -> tuple[int, bool]:
    """Pins by key; how many blocks hit, and whether every page of the rank's
    slices is right."""
    names = split_keys(keys)
    with state.client.match(keys) as prefix:
        count = prefix.block_count()
        right = all(
            is_page(prefix.page(position, s), names[position], s)
            for position in range(count)
            for s in state.slices
        )
        prefix.check()
        return count, right


def read_into_engine(
    state: SimpleNamespace, keys: bytes, seed: int
) -> tuple[int, bool]:
    """The same, copied to blocks of the engine in any order."""
    names = split_keys(keys)
    state.memory.wipe()
    with state.client.match(keys) as prefix:
        count = prefix.block_count()
        blocks = random.Random(seed).sample(range(_BLOCKS_MAX), count)
        if count:
            prefix.copy_to(state.memory.paged, np.array(blocks, dtype=np.int64))
        return count, all(
            state.memory.has(block, s, names[position])
            for position, block in enumerate(blocks)
            for s in state.slices
        )
