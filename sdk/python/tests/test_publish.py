"""Client.publish, and a publication's pages, outcomes and ends."""

import gc

import kvferry
import numpy as np
import pytest
from kvferry import errors
from support.blocks import random_blocks, small_group, split_keys, tokens
from support.daemon import Daemon
from support.wait import wait_until

KEYS = b"a" * 16 + b"b" * 16 + b"c" * 16


def test_publish_takes_one_buffer_a_key(client: kvferry.Client) -> None:
    blocks = random_blocks(3, client.groups[0])
    mixed = [blocks[0], bytes(blocks[1]), bytearray(blocks[2])]
    assert client.publish(KEYS, mixed) == 3
    prefix = client.match(KEYS)
    for i in range(3):
        assert bytes(prefix.page(i)) == bytes(blocks[i])


def test_publish_takes_one_buffer_for_all(client: kvferry.Client) -> None:
    blocks = random_blocks(3, client.groups[0])
    assert client.publish(KEYS, blocks) == 3
    other = b"d" * 16 + b"e" * 16 + b"f" * 16
    assert client.publish(other, blocks.tobytes(), timeout=None) == 3
    assert bytes(client.match(other).page(2)) == bytes(blocks[2])


def test_what_is_there_counts_as_visible(client: kvferry.Client) -> None:
    first = random_blocks(3, client.groups[0], seed=1)
    client.publish(KEYS, first)
    assert client.publish(KEYS, random_blocks(3, client.groups[0])) == 3
    assert bytes(client.match(KEYS).page(0)) == bytes(first[0])


# Goal    A thousand buffers are taken, and all let go of.
def test_many_buffers(client: kvferry.Client) -> None:
    keys = client.hasher().hash_blocks(tokens(1030 * 16))
    blocks = [bytearray(4096) for _ in range(1030)]
    assert client.publish(keys, blocks) == 1030
    for block in blocks:
        block.append(0)  # refused as long as somebody has its buffer


@pytest.mark.parametrize(
    ("blocks", "error", "text"),
    [
        ([bytes(4096)] * 2, errors.InvalidArgument, "2 for 3 keys"),
        ([bytes(4096)] * 4, errors.InvalidArgument, "4 for 3 keys"),
        (bytes(4096), errors.InvalidArgument, "4096 bytes, must be 3 keys"),
        (
            [bytes(4096), bytes(4095), bytes(4096)],
            errors.InvalidArgument,
            "4095 bytes at 1, must be 4096",
        ),
        (
            [np.zeros((2, 8192), np.uint8)[:, ::4].T] * 3,
            errors.InvalidArgument,
            "contiguous",
        ),
        (["x"] * 3, TypeError, "buffer"),
        (7, TypeError, None),
        (None, TypeError, None),
    ],
)
def test_wrong_blocks(
    client: kvferry.Client,
    blocks: object,
    error: type[Exception],
    text: str | None,
) -> None:
    with pytest.raises(error, match=text):
        client.publish(KEYS, blocks)  # type: ignore[arg-type]
    assert not client.match(KEYS)


def test_wrong_keys_of_publish(client: kvferry.Client) -> None:
    with pytest.raises(errors.InvalidArgument, match="0 keys"):
        client.publish(b"", [])
    with pytest.raises(errors.InvalidArgument, match="group: 1, namespace"):
        client.publish(KEYS, [bytes(4096)] * 3, group=1)
    with pytest.raises(errors.InvalidArgument, match="parent: 8 bytes"):
        client.publish(KEYS, [bytes(4096)] * 3, parent=bytes(8))


# Goal    With most of the memory pinned, as much is published as fits.
def test_a_full_namespace_publishes_what_fits(
    daemon_directory: object,
) -> None:
    config = '[template]\nquota = "4 MiB"\n'
    with Daemon(str(daemon_directory), extra_config=config) as daemon:
        client = kvferry.Client(
            "test", groups=[small_group()], socket_path=daemon.socket_path
        )
        count = 600
        blocks = np.zeros((count, 4096), np.uint8)
        keys = client.hasher().hash_blocks(tokens(count * 16))
        assert client.publish(keys, blocks) == count
        with client.match(keys) as pinned:
            assert pinned.block_count() == count
            other = client.hasher().hash_blocks(tokens(count * 16, 1 << 20))
            visible = client.publish(other, blocks)
            assert 0 < visible < count
            assert client.match(other).block_count() <= visible


# --- publications ------------------------------------------------------------


def test_a_block_s_way_to_visible(client: kvferry.Client) -> None:
    blocks = random_blocks(3, client.groups[0])
    publication = client.open_publication()
    assert len(publication) == 0

    assert publication.begin(KEYS[:32]) == 0
    assert publication.begin(KEYS[32:], parent=KEYS[16:32]) == 2

    assert len(publication) == 3
    assert publication.outcomes(0, 3) == bytes([0, 0, 0])
    assert publication.outcomes(1, 0) == b""
    assert [kvferry.OUTCOMES[o] for o in publication.outcomes(0, 2)] == [
        "writing", "writing",
    ]  # fmt: skip
    for i in range(3):
        np.asarray(publication.page(i))[:] = blocks[i]
    assert not client.match(KEYS)
    publication.commit(0, 1)
    publication.commit_and_wait(1, 2)
    assert publication.outcome(0) == "committed"
    assert publication.outcomes(0, 3) == bytes([1, 1, 1])
    assert publication.page(0) is None
    publication.close()
    prefix = client.match(KEYS)
    assert prefix.block_count() == 3
    assert bytes(prefix.page(2)) == bytes(blocks[2])
    assert "3 blocks, ended" in repr(publication)


def test_what_exists_is_not_written_again(client: kvferry.Client) -> None:
    client.publish(KEYS[:16], random_blocks(1, client.groups[0]))
    with client.open_publication() as publication:
        publication.begin(KEYS)
        assert publication.outcome(0) == "exists"
        assert publication.page(0) is None
        assert publication.page(1) is not None
        publication.abort()
    assert publication.outcomes(0, 3) == bytes([2, 5, 5])


@pytest.mark.parametrize("standby", [True, False])
def test_another_writer_of_the_same_key(
    daemon: Daemon, client: kvferry.Client, standby: bool
) -> None:
    second = kvferry.Client(
        "test", accept_existing=True, socket_path=daemon.socket_path
    )
    blocks = random_blocks(1, client.groups[0])
    with client.open_publication() as first:
        first.begin(KEYS[:16])
        wait_until(
            lambda: second.lookup(KEYS[:16]).answer == "ask_again",
            "the begin",
        )
        with second.open_publication(standby=standby) as other:
            other.begin(KEYS[:16])
            expected = "standby" if standby else "in_flight"
            wait_until(
                lambda: other.outcome(0) == expected, f"the outcome {expected}"
            )
            page = other.page(0)
            assert (page is not None) == standby
            if page is not None:
                np.asarray(page)[:] = blocks[0]
                other.commit_and_wait(0, 1)
            first.abort()
            if standby:
                wait_until(
                    lambda: bool(client.match(KEYS[:16])), "the adoption"
                )
                assert bytes(client.match(KEYS[:16]).page(0)) == bytes(
                    blocks[0]
                )


def test_with_closes_and_an_exception_aborts(client: kvferry.Client) -> None:
    with client.open_publication() as publication:
        publication.begin(KEYS[:16])
        publication.commit(0, 1)
    assert client.match(KEYS[:16])

    with pytest.raises(ZeroDivisionError):
        with client.open_publication() as publication:
            publication.begin(KEYS[16:])
            raise ZeroDivisionError
    assert publication.outcome(0) == "void"
    assert client.lookup(KEYS[16:]).answer == "nothing"


# Goal    A publication that nobody has is aborted at once, also while a view of
#         one of its pages is alive.
def test_a_forgotten_publication_is_aborted(client: kvferry.Client) -> None:
    publication = client.open_publication()
    publication.begin(KEYS)
    view = np.asarray(publication.page(0))
    del publication
    gc.collect()
    wait_until(
        lambda: client.lookup(KEYS).answer == "nothing", "the abort"
    )
    view[:] = 0  # still mapped


def test_a_closed_publication_begins_nothing(client: kvferry.Client) -> None:
    publication = client.open_publication()
    publication.begin(KEYS)
    publication.commit(0, 3)
    publication.close(timeout=None)
    publication.close()
    for call in (
        lambda: publication.begin(KEYS),
        lambda: publication.set_hand_over(b"x"),
    ):
        with pytest.raises(errors.FailedPrecondition, match="closed"):
            call()
    assert publication.outcomes(0, 3) == bytes([1, 1, 1])


def test_wrong_positions(client: kvferry.Client) -> None:
    publication = client.open_publication()
    publication.begin(KEYS)
    for call in (
        lambda: publication.page(3),
        lambda: publication.page(0, 1),
        lambda: publication.outcome(3),
        lambda: publication.outcomes(2, 2),
        lambda: publication.outcomes(0, 4_294_967_295),
    ):
        with pytest.raises(errors.OutOfRange):
            call()
    for call in (
        lambda: publication.page(-1),
        lambda: publication.outcomes(0, -1),
        lambda: publication.commit(2, 2),
        lambda: publication.commit_and_wait(0, 4),
        lambda: publication.commit_layers(1, 1, 1),
        lambda: publication.begin(b""),
        lambda: publication.begin(bytes(15)),
        lambda: publication.begin(KEYS, group=1),
        lambda: publication.begin(KEYS, tail_tokens=16),
        lambda: publication.set_hand_over(bytes(4097)),
    ):
        with pytest.raises(errors.InvalidArgument):
            call()


def test_wrong_options_of_a_publication(client: kvferry.Client) -> None:
    for options in (
        {"slice_first": 1},
        {"slice_count": 2},
        {"slice_first": -1},
        {"stall_timeout": 0.01},
        {"stall_timeout": 0.0},
        {"stall_timeout": float("nan")},
    ):
        with pytest.raises(errors.InvalidArgument):
            client.open_publication(**options)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.open_publication(1)  # type: ignore[misc]


def test_no_space_is_an_outcome(daemon_directory: object) -> None:
    config = '[template]\nquota = "4 MiB"\n'
    with Daemon(str(daemon_directory), extra_config=config) as daemon:
        client = kvferry.Client(
            "test", groups=[small_group()], socket_path=daemon.socket_path
        )
        keys = client.hasher().hash_blocks(tokens(2048 * 16))
        publication = client.open_publication()
        publication.begin(keys)
        outcomes = publication.outcomes(0, 2048)
        assert {kvferry.OUTCOMES[o] for o in outcomes} <= {
            "writing", "no_space",
        }  # fmt: skip
        position = outcomes.index(4)
        assert publication.page(position) is None


def test_two_ranks_write_slices(daemon: Daemon) -> None:
    group = small_group(slice_count=2)
    ranks = [
        kvferry.Client(
            "test", groups=[group], socket_path=daemon.socket_path
        )
        for _ in range(2)
    ]
    blocks = random_blocks(1, group)[0].reshape(2, group.page_bytes)
    publications = [
        client.open_publication(
            engine_instance=0xFFFF_FFFF_FFFF_FFFF,
            publication=5,
            slice_first=rank,
            slice_count=1,
        )
        for rank, client in enumerate(ranks)
    ]
    key = split_keys(KEYS)[0]
    for rank, publication in enumerate(publications):
        publication.begin(key)
        with pytest.raises(errors.OutOfRange, match="slice"):
            publication.page(0, 1 - rank)
        np.asarray(publication.page(0, rank))[:] = blocks[rank]
        assert not ranks[0].match(key)
        publication.commit_and_wait(0, 1)
    prefix = ranks[0].match(key)
    for rank in range(2):
        assert bytes(prefix.page(0, rank)) == bytes(blocks[rank])
