"""From an engine's memory to pages and back: fill, copy_to, pull_to."""

from collections.abc import Callable

import kvferry
import numpy as np
import pytest
from kvferry import errors
from numpy.typing import NDArray
from support.blocks import small_group, tokens
from support.daemon import Daemon
from support.engine_memory import (
    BLOCKS,
    GROUP,
    HEADS,
    KV,
    LAYERS,
    ORDERS,
    TOKENS,
    Engine,
    make_engine,
)


@pytest.fixture
def client(daemon: Daemon) -> kvferry.Client:
    return kvferry.Client(
        "test", groups=[small_group(**GROUP)], socket_path=daemon.socket_path
    )


def numbers(
    *values: int, dtype: type[np.integer] = np.int64
) -> NDArray[np.integer]:
    return np.array(values, dtype=dtype)


def publish(
    client: kvferry.Client, engine: Engine, count: int, **options: int
) -> bytes:
    """Publishes the engine's blocks 0, 1, ...; their keys."""
    keys = client.hasher().hash_blocks(tokens(count * TOKENS))
    with client.open_publication() as publication:
        publication.begin(keys)
        filled = publication.fill(
            0, engine.paged, np.arange(count), **options
        )
        assert filled == count
        publication.commit_and_wait(0, count)
    return keys


@pytest.mark.parametrize("order", ORDERS)
def test_from_one_engine_to_another(
    client: kvferry.Client, order: str
) -> None:
    group = client.groups[0]
    source = make_engine(order, group)
    keys = publish(client, source, 4)
    for other in ("kbth", "bhtk"):
        target = make_engine(other, group, seed=8)
        before = [layer.copy() for layer in target.layers]
        places = numbers(7, 0, 3, 5, dtype=np.uint64)
        with client.match(keys) as prefix:
            for i in range(4):
                assert np.array_equal(
                    np.asarray(prefix.page(i)), source.page(i)
                )
            prefix.copy_to(target.paged, places)
        for i, place in enumerate(places.tolist()):
            assert np.array_equal(target.page(place), source.page(i))
        for layer, old in zip(target.layers, before, strict=True):
            for block in set(range(BLOCKS)) - set(places.tolist()):
                assert np.array_equal(layer[:, block], old[:, block])


def test_parts_of_a_prefix(client: kvferry.Client) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = publish(client, source, 4)
    target = make_engine("kbht", client.groups[0], seed=8)
    old = target.page(1).copy()
    prefix = client.match(keys)
    # Block 2 of the prefix goes to 6, block 3 nowhere.
    prefix.copy_to(target.paged, numbers(6, -1), first=2)
    assert np.array_equal(target.page(6), source.page(2))
    assert np.array_equal(target.page(1), old)
    # Of the last block 5 tokens.
    prefix.copy_to(target.paged, numbers(1), first=3, last_tokens=5)
    for layer, new in zip(target.layers, source.layers, strict=True):
        assert np.array_equal(layer[:, 1, :5], new[:, 3, :5])
    assert not np.array_equal(target.page(1), source.page(3))
    prefix.copy_to(target.paged, numbers())


def test_fill_writes_what_is_to_be_written(client: kvferry.Client) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = client.hasher().hash_blocks(tokens(4 * TOKENS))
    client.publish(keys[:16], [source.page(0)])
    publication = client.open_publication()
    publication.begin(keys)
    # 0 is there already, 2 is skipped.
    assert publication.fill(0, source.paged, numbers(0, 1, -1, 3)) == 2
    for i in (1, 3):
        assert np.array_equal(
            np.asarray(publication.page(i)), source.page(i)
        )
    assert publication.fill(2, source.paged, numbers(2)) == 1
    publication.commit_and_wait(0, 4)
    publication.close()
    assert client.match(keys).block_count() == 4


def test_slices_from_two_ranks_into_one(daemon: Daemon) -> None:
    group = small_group(slice_count=2, **GROUP)
    client = kvferry.Client(
        "test", groups=[group], socket_path=daemon.socket_path
    )
    keys = client.hasher().hash_blocks(tokens(3 * TOKENS))
    ranks = [
        make_engine("kbth", group, seed=s, slice_first=s, slice_count=1)
        for s in range(2)
    ]
    for rank, engine in enumerate(ranks):
        publication = client.open_publication(
            engine_instance=3, publication=1, slice_first=rank, slice_count=1
        )
        publication.begin(keys)
        assert publication.fill(0, engine.paged, np.arange(3)) == 3
        publication.commit_and_wait(0, 3)
    whole = make_engine("bkht", group, slices=2, seed=8)
    with client.match(keys) as prefix:
        prefix.copy_to(whole.paged, numbers(4, 5, 6))
    for i in range(3):
        for rank, engine in enumerate(ranks):
            assert np.array_equal(whole.page(4 + i, rank), engine.page(i))


def test_pull_to(client: kvferry.Client) -> None:
    source = make_engine("kbth", client.groups[0])
    target = make_engine("bthk", client.groups[0], seed=8)
    keys = client.hasher().hash_blocks(tokens(4 * TOKENS))
    publication = client.open_publication()
    publication.begin(keys)
    ticket = client.mint_ticket(keys, publication=publication)
    stream = client.stream(keys, hint=client.redeem_ticket(ticket).hint)
    publication.fill(0, source.paged, numbers(0, 1))
    publication.commit(0, 2)
    with pytest.raises(errors.DeadlineExceeded):
        stream.pull_to(target.paged, numbers(3, 2, -1, 0), timeout=0.01)
    assert stream.copied_blocks == 2
    publication.fill(2, source.paged, numbers(2, 3))
    publication.commit_layers(2, 2, 1)
    with pytest.raises(errors.DeadlineExceeded):
        stream.pull_to(target.paged, numbers(3, 2, -1, 0), timeout=0.2)
    assert stream.copied_layers == 1
    publication.commit(2, 2)
    old = target.page(1).copy()
    stream.pull_to(target.paged, numbers(3, 2, -1, 0), timeout=10)
    assert stream.copied_blocks == 4
    for i, place in ((0, 3), (1, 2), (3, 0)):
        assert np.array_equal(target.page(place), source.page(i))
    assert np.array_equal(target.page(1), old)
    with pytest.raises(errors.InvalidArgument, match="1, the stream has 4"):
        stream.pull_to(target.paged, numbers(1), timeout=0)


WRONG_BLOCKS: list[tuple[object, type[Exception], str | None]] = [
    (np.array([0], np.int32), errors.InvalidArgument, "int64 or uint64"),
    (np.array([0.0]), errors.InvalidArgument, "int64 or uint64"),
    (np.arange(8)[::4], errors.InvalidArgument, "contiguous"),
    (bytes(8), errors.InvalidArgument, "int64 or uint64"),
    ([0], TypeError, None),
    (np.array([BLOCKS]), errors.InvalidArgument, str(BLOCKS)),
    (np.array([-2]), errors.InvalidArgument, str(2**64 - 2)),
]


@pytest.mark.parametrize(("blocks", "error", "text"), WRONG_BLOCKS)
def test_wrong_engine_blocks(
    client: kvferry.Client,
    blocks: object,
    error: type[Exception],
    text: str | None,
) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = publish(client, source, 2)
    prefix = client.match(keys)
    with pytest.raises(error, match=text):
        prefix.copy_to(source.paged, blocks)  # type: ignore[arg-type]
    with client.open_publication() as publication:
        publication.begin(b"n" * 32)
        with pytest.raises(error, match=text):
            publication.fill(0, source.paged, blocks)  # type: ignore[arg-type]
        publication.abort()


def test_wrong_positions(client: kvferry.Client) -> None:
    source = make_engine("kbth", client.groups[0])
    prefix = client.match(publish(client, source, 2))
    calls: list[Callable[[], None]] = [
        lambda: prefix.copy_to(source.paged, numbers(0, 1, 2)),
        lambda: prefix.copy_to(source.paged, numbers(0), first=2),
        lambda: prefix.copy_to(source.paged, numbers(0), group=1),
        lambda: prefix.copy_to(source.paged, numbers(0), last_tokens=17),
        lambda: prefix.copy_to(source.paged, numbers(0), first=-1),
    ]
    for call in calls:
        with pytest.raises((errors.InvalidArgument, errors.OutOfRange)):
            call()
    view = prefix.page(0)
    prefix.release()
    with pytest.raises(errors.InvalidArgument, match="empty"):
        prefix.copy_to(source.paged, numbers(0))
    del view
    prefix = client.match(b"n" * 16)
    with pytest.raises(errors.InvalidArgument):
        prefix.copy_to(source.paged, numbers(0))


def test_another_group_s_memory_is_refused(client: kvferry.Client) -> None:
    source = make_engine("kbth", client.groups[0])
    prefix = client.match(publish(client, source, 2))
    other = small_group(**{**GROUP, "head_bytes": 16})
    memory = np.zeros((KV, BLOCKS, TOKENS, HEADS, 16), np.uint8)
    paged = kvferry.PagedMemory(
        other,
        [
            kvferry.PagedLayer(
                memory.__array_interface__["data"][0],
                block_stride=memory.strides[1],
                token_stride=memory.strides[2],
            )
        ]
        * LAYERS,
        BLOCKS,
        owner=memory,
    )
    with pytest.raises(errors.InvalidArgument):
        prefix.copy_to(paged, numbers(0))
