"""Matching and looking up: what is found, and where a hit ends."""

import kvferry
import numpy as np
import pytest
from kvferry import errors
from support.blocks import random_blocks, small_group, split_keys, tokens
from support.daemon import Daemon
from support.wait import wait_until


def keys_of(client: kvferry.Client, count: int, first: int = 0) -> bytes:
    return client.hasher().hash_blocks(tokens(count * 16, first))


def test_a_miss_is_no_error(client: kvferry.Client) -> None:
    prefix = client.match(keys_of(client, 4))
    assert not prefix
    assert (prefix.tokens, prefix.block_count(), prefix.first_block()) == (
        0, 0, 0,
    )  # fmt: skip
    prefix.check()
    prefix.release()
    with pytest.raises(errors.OutOfRange, match="position 0"):
        prefix.page(0)


def test_a_hit_ends_where_the_first_block_is_missing(
    client: kvferry.Client,
) -> None:
    keys = keys_of(client, 8)
    blocks = random_blocks(8, client.groups[0])
    parts = split_keys(keys)
    client.publish(keys[:48], blocks[:3])
    client.publish(keys[64:], blocks[4:], parent=parts[3])

    prefix = client.match(keys)

    assert prefix
    assert (prefix.tokens, prefix.block_count()) == (48, 3)
    for i in range(3):
        assert bytes(prefix.page(i)) == bytes(blocks[i])
    for position in (3, 4):
        with pytest.raises(errors.OutOfRange, match=f"position {position}"):
            prefix.page(position)


# Goal    Both sides of the line of 512 keys, where the GIL is given up.
@pytest.mark.parametrize("count", [511, 512, 513, 1024])
def test_many_keys(client: kvferry.Client, count: int) -> None:
    keys = keys_of(client, count)
    blocks = random_blocks(count, client.groups[0])
    assert client.publish(keys, blocks) == count
    with client.match(keys) as prefix:
        assert prefix.block_count() == count
        last = np.asarray(prefix.page(count - 1))
        assert np.array_equal(last, blocks[count - 1])
    assert client.lookup(keys).tokens == count * 16


def test_keys_in_any_buffer(client: kvferry.Client) -> None:
    keys = keys_of(client, 4)
    client.publish(keys, random_blocks(4, client.groups[0]))
    raw = bytearray(b"\0" + keys)
    for buffer in (
        keys,
        bytearray(keys),
        memoryview(keys),
        memoryview(raw)[1:],  # at an odd address
        np.frombuffer(keys, dtype=np.uint8).reshape(4, 16),
        np.frombuffer(keys, dtype=np.uint64),
    ):
        assert client.match(buffer).tokens == 64
        assert client.lookup(buffer).tokens == 64


def test_into_fills_a_prefix_again(client: kvferry.Client) -> None:
    keys = keys_of(client, 4)
    other = keys_of(client, 2, first=1000)
    blocks = random_blocks(6, client.groups[0])
    client.publish(keys, blocks[:4])
    client.publish(other, blocks[4:])
    prefix = client.match(keys)

    assert client.match(other, into=prefix) is prefix

    assert prefix.tokens == 32
    assert bytes(prefix.page(0)) == bytes(blocks[4])
    assert client.match(bytes(16 * 3), into=prefix) is prefix
    assert not prefix


# Goal    A prefix whose call failed is empty, whatever it held.
def test_into_is_empty_after_an_error(client: kvferry.Client) -> None:
    keys = keys_of(client, 4)
    client.publish(keys, random_blocks(4, client.groups[0]))
    prefix = client.match(keys)
    with pytest.raises(errors.InvalidArgument):
        client.match(keys, group=3, into=prefix)
    assert not prefix
    assert client.match(keys, into=prefix).tokens == 64


def test_into_leaves_views_what_they_have(client: kvferry.Client) -> None:
    keys = keys_of(client, 1)
    block = random_blocks(1, client.groups[0])
    client.publish(keys, block)
    prefix = client.match(keys)
    view = np.asarray(prefix.page(0))
    client.match(b"n" * 16, into=prefix)
    assert (prefix.tokens, prefix.views) == (0, 1)
    assert np.array_equal(view, block[0])
    del view
    assert prefix.views == 0


def test_into_must_be_a_prefix(client: kvferry.Client) -> None:
    with pytest.raises(TypeError):
        client.match(bytes(16), into=client)  # type: ignore[arg-type]


def test_a_tail_counts_when_it_hits(client: kvferry.Client) -> None:
    hasher = client.hasher()
    keys = hasher.hash_blocks(tokens(32))
    tail = hasher.hash_block(tokens(5, first=32), parent=keys[16:])
    blocks = random_blocks(3, client.groups[0])
    with client.open_publication() as publication:
        publication.begin(keys + tail, tail_tokens=5)
        for i in range(3):
            np.asarray(publication.page(i))[:] = blocks[i]
        publication.commit_and_wait(0, 3)

    assert client.match(keys + tail, tail_tokens=5).tokens == 37
    assert client.lookup(keys + tail, tail_tokens=5).tokens == 37
    assert client.match(keys).tokens == 32
    for wrong in (16, 17):
        with pytest.raises(errors.InvalidArgument, match=str(wrong)):
            client.match(keys, tail_tokens=wrong)


@pytest.mark.parametrize(
    ("keys", "group", "text"),
    [
        (b"", 0, "0 keys, must be 1 to 16384"),
        (bytes(16 * 16385), 0, "16385 keys, must be 1 to 16384"),
        (bytes(15), 0, "15 bytes, must be a multiple of 16"),
        (bytes(16), 1, "group 1, the namespace has 1"),
        (bytes(16), -1, "group: -1"),
        (bytes(16), 1 << 32, "group: 4294967296"),
    ],
)
def test_wrong_keys(
    client: kvferry.Client, keys: bytes, group: int, text: str
) -> None:
    for call in (client.match, client.lookup):
        with pytest.raises(errors.InvalidArgument, match=text):
            call(keys, group=group)


def test_keys_must_be_contiguous_buffers(client: kvferry.Client) -> None:
    strided = np.zeros((8, 16), dtype=np.uint8)[::2]
    for call in (client.match, client.lookup, client.stream):
        with pytest.raises(errors.InvalidArgument, match="contiguous"):
            call(strided)
        for wrong in ("0123456789abcdef", [1, 2], None, 16):
            with pytest.raises(TypeError):
                call(wrong)  # type: ignore[arg-type]


def test_lookup_says_what_is_coming(client: kvferry.Client) -> None:
    keys = keys_of(client, 4)
    nothing = client.lookup(keys)
    assert (nothing.answer, nothing.tokens) == ("nothing", 0)

    blocks = random_blocks(4, client.groups[0])
    client.publish(keys[:16], blocks[:1])
    with client.open_publication() as publication:
        publication.begin(keys)
        # The daemon takes the begun blocks in when it comes to it.
        wait_until(
            lambda: client.lookup(keys).answer == "ask_again", "the begin"
        )
        coming = client.lookup(keys)
        assert (coming.answer, coming.tokens) == ("ask_again", 16)
        assert coming.coming_tokens == 64
        assert coming.estimate is None or coming.estimate >= 0
        for i in range(1, 4):
            np.asarray(publication.page(i))[:] = blocks[i]
        publication.commit_and_wait(0, 4)

    hit = client.lookup(keys)
    assert (hit.answer, hit.tokens) == ("hit", 64)
    assert "hit, 64 tokens" in repr(hit)


@pytest.fixture
def two_groups(daemon: Daemon) -> kvferry.Client:
    groups = [
        small_group(),
        small_group("window", rule="trailing", trailing_blocks=2),
    ]
    return kvferry.Client(
        "test", groups=groups, socket_path=daemon.socket_path
    )


def test_groups_hit_together(two_groups: kvferry.Client) -> None:
    client = two_groups
    full = client.hasher(0).hash_blocks(tokens(96))
    window = client.hasher(1).hash_blocks(tokens(96))
    blocks = random_blocks(6, client.groups[0])
    client.publish(full, blocks)
    client.publish(window[48:80], blocks[3:5], group=1)

    prefix = client.match_groups([(0, full), (1, window)])

    # Blocks 3 and 4 of the window's group: the boundary after them.
    assert prefix.tokens == 80
    assert (prefix.first_block(0), prefix.block_count(0)) == (0, 5)
    assert (prefix.first_block(1), prefix.block_count(1)) == (3, 2)
    assert bytes(prefix.page(4, group=1)) == bytes(blocks[4])
    with pytest.raises(errors.OutOfRange):
        prefix.page(2, group=1)
    assert client.lookup_groups([(0, full), (1, window)]).tokens == 80
    assert client.match_groups([(0, full, 0), (1, window, 0)]).tokens == 80
    assert client.match_groups(((0, full),), into=prefix).tokens == 96


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ([], errors.InvalidArgument),
        ([(0, bytes(16)), (0, bytes(16))], errors.InvalidArgument),
        ([(0,)], errors.InvalidArgument),
        ([(0, bytes(16), 0, 0)], errors.InvalidArgument),
        ([(-1, bytes(16))], errors.InvalidArgument),
        ([(0, bytes(15))], errors.InvalidArgument),
        ([(0, "x")], TypeError),
        ([3], TypeError),
        (None, TypeError),
        ([("a", bytes(16))], TypeError),
    ],
)
def test_wrong_groups(
    two_groups: kvferry.Client, groups: object, error: type[Exception]
) -> None:
    for call in (two_groups.match_groups, two_groups.lookup_groups):
        with pytest.raises(error):
            call(groups)  # type: ignore[arg-type]
