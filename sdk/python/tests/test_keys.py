"""Keys: against the formula of include/kvferry/key.h, computed anew here."""

import hashlib
import struct

import kvferry
import numpy as np
import pytest
from kvferry import errors
from support.blocks import (
    BLOCK_TOKENS,
    reference_key,
    reference_keys,
    small_group,
    tokens,
)
from support.daemon import Daemon

SALT = bytes(range(32))


@pytest.mark.parametrize("group", [0, 1, 7])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 160])
@pytest.mark.parametrize("extra", [b"", b"adapter 3"])
def test_hash_blocks_follows_the_formula(
    group: int, count: int, extra: bytes
) -> None:
    hasher = kvferry.Hasher(SALT, group, BLOCK_TOKENS)
    values = tokens(count, first=4_294_967_000)
    expected = reference_keys(SALT, group, values.tolist(), extra=extra)
    assert hasher.hash_blocks(values, extra=extra) == expected


def test_blocks_are_chained_after_a_parent() -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    whole = hasher.hash_blocks(tokens(64))
    first, rest = whole[:16], whole[16:]
    assert hasher.hash_blocks(tokens(48, first=16), parent=first) == rest
    assert hasher.hash_blocks(tokens(64), parent=bytes(16)) == whole


@pytest.mark.parametrize("block_tokens", [1, 16, 256])
def test_block_tokens_is_the_hasher_s(block_tokens: int) -> None:
    hasher = kvferry.Hasher(SALT, 0, block_tokens)
    values = tokens(512)
    assert hasher.hash_blocks(values) == reference_keys(
        SALT, 0, values.tolist(), block_tokens=block_tokens
    )


@pytest.mark.parametrize("count", [1, 15, 16])
def test_hash_block_takes_a_tail(count: int) -> None:
    hasher = kvferry.Hasher(SALT, 2, BLOCK_TOKENS)
    parent = b"p" * 16
    values = tokens(count)
    assert hasher.hash_block(values, parent=parent, extra=b"x") == (
        reference_key(SALT, 2, parent, values.tolist(), b"x")
    )


@pytest.mark.parametrize(
    "dtype", [np.uint32, np.int32, np.uint64, np.int64]
)
def test_tokens_of_every_integer_type(dtype: type[np.integer]) -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    values = tokens(100)
    expected = hasher.hash_blocks(values)
    assert hasher.hash_blocks(values.astype(dtype)) == expected
    # Read-only, and other exporters.
    assert hasher.hash_blocks(memoryview(values.astype(dtype))) == expected
    # Two dimensions in C order are the same tokens.
    assert hasher.hash_blocks(values.astype(dtype).reshape(10, 10)) == expected


# Goal    More than 512 keys are made without the GIL; they are the same.
def test_many_blocks() -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    values = tokens(BLOCK_TOKENS * 1024)
    keys = hasher.hash_blocks(values.astype(np.int64))
    assert keys == reference_keys(SALT, 0, values.tolist())
    with pytest.raises(errors.InvalidArgument, match="-5 at 16000"):
        wrong = values.astype(np.int64)
        wrong[16_000] = -5
        hasher.hash_blocks(wrong)


def test_tokens_that_lie_at_an_odd_address() -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    raw = b"\0" + tokens(32).tobytes()
    odd = np.frombuffer(raw, dtype=np.uint32, offset=1)
    assert hasher.hash_blocks(odd) == hasher.hash_blocks(tokens(32))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (-1, np.int32),
        (-1, np.int64),
        (1 << 32, np.int64),
        (1 << 32, np.uint64),
        (1 << 63, np.uint64),
    ],
)
def test_tokens_out_of_range(value: int, dtype: type[np.integer]) -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    values = tokens(16).astype(dtype)
    values[9] = value
    for call in (hasher.hash_blocks, hasher.hash_block):
        with pytest.raises(
            errors.InvalidArgument,
            match=f"tokens: {value} at 9, must be 0 to 4294967295",
        ):
            call(values)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(16, dtype=np.uint16),
        np.arange(16, dtype=np.float32),
        np.arange(16, dtype=np.float64),
        np.arange(16, dtype=np.dtype(">u4")),
        np.arange(16, dtype=np.complex64),
        b"0123456789abcdef",
    ],
)
def test_tokens_of_other_types(values: object) -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    with pytest.raises(errors.InvalidArgument, match="uint32, int32, uint64"):
        hasher.hash_blocks(values)  # type: ignore[arg-type]


def test_tokens_that_are_no_buffer_or_not_contiguous() -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    with pytest.raises(TypeError):
        hasher.hash_blocks([1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="contiguous"):
        hasher.hash_blocks(tokens(64)[::2])
    with pytest.raises(errors.InvalidArgument, match="contiguous"):
        hasher.hash_blocks(tokens(64).reshape(8, 8).T)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_parent_is_one_key(size: int) -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    with pytest.raises(errors.InvalidArgument, match=f"parent: {size} bytes"):
        hasher.hash_blocks(tokens(16), parent=bytes(size))


def test_hash_block_wants_one_block() -> None:
    hasher = kvferry.Hasher(SALT, 0, BLOCK_TOKENS)
    for count in (0, 17):
        with pytest.raises(errors.InvalidArgument, match=str(count)):
            hasher.hash_block(tokens(count))


def test_a_hasher_s_own_arguments() -> None:
    with pytest.raises(errors.InvalidArgument, match="salt: 31 bytes"):
        kvferry.Hasher(bytes(31), 0, 16)
    with pytest.raises(errors.InvalidArgument, match="block_tokens: 0"):
        kvferry.Hasher(SALT, 0, 0)
    with pytest.raises(errors.InvalidArgument, match="group: -1"):
        kvferry.Hasher(SALT, -1, 16)
    assert "group 3" in repr(kvferry.Hasher(SALT, 3, 16))


def test_a_client_s_hasher_is_its_namespace_s(daemon: Daemon) -> None:
    groups = [small_group(), small_group("wide", block_tokens=64)]
    with kvferry.Client(
        "test", groups=groups, socket_path=daemon.socket_path
    ) as client:
        salt = client.info.salt
        values = tokens(256)
        for group, spec in enumerate(groups):
            keys = client.hasher(group).hash_blocks(values)
            assert keys == reference_keys(
                salt, group, values.tolist(), block_tokens=spec.block_tokens
            )
        with pytest.raises(errors.InvalidArgument, match="group: 2"):
            client.hasher(2)


def digests(count: int, size: int) -> bytes:
    return b"".join(
        hashlib.sha512(bytes([i])).digest()[:size] for i in range(count)
    )


def test_cryptographic_digests_are_cut(client: kvferry.Client) -> None:
    values = digests(5, 32)
    expected = b"".join(values[i : i + 16] for i in range(0, 160, 32))
    assert client.keys_from_digests(values, 32) == expected
    # As a view of one row a digest.
    rows = np.frombuffer(values, dtype=np.uint8).reshape(5, 32)
    assert client.keys_from_digests(rows, 32) == expected


def test_other_digests_are_hashed(client: kvferry.Client) -> None:
    values = digests(3, 8)
    expected = b"".join(
        hashlib.sha256(
            b"kvferry-digest-1"
            + client.info.salt
            + struct.pack("<II", 0, 8)
            + values[i : i + 8]
        ).digest()[:16]
        for i in range(0, 24, 8)
    )
    assert (
        client.keys_from_digests(values, 8, cryptographic=False) == expected
    )


def test_digests_with_a_stride(client: kvferry.Client) -> None:
    values = digests(4, 20)
    spaced = b"".join(
        values[i : i + 20] + b"\xff" * 12 for i in range(0, 80, 20)
    )
    expected = client.keys_from_digests(values, 20)
    assert len(expected) == 64
    assert client.keys_from_digests(spaced, 20, stride=32) == expected
    # The last one needs nothing behind it.
    assert client.keys_from_digests(spaced[:-12], 20, stride=32) == expected


def test_a_list_of_digests(client: kvferry.Client) -> None:
    each = [hashlib.sha256(b"%d" % i).digest() for i in range(3000)]
    assert client.keys_from_digests(each, 32) == client.keys_from_digests(
        b"".join(each), 32
    )
    assert client.keys_from_digests([], 32) == b""
    with pytest.raises(errors.InvalidArgument, match="number 1 has 31 bytes"):
        client.keys_from_digests([bytes(32), bytes(31)], 32)
    with pytest.raises(TypeError, match="must have bytes"):
        client.keys_from_digests([bytes(32), "x" * 32], 32)
    with pytest.raises(TypeError, match="buffer or a list"):
        client.keys_from_digests(7, 32)


def test_no_digests_give_no_keys(client: kvferry.Client) -> None:
    assert client.keys_from_digests(b"", 32) == b""


@pytest.mark.parametrize(
    ("size", "arguments", "text"),
    [
        (65, {"digest_size": 32}, "65 bytes"),
        (31, {"digest_size": 32}, "31 bytes"),
        (64, {"digest_size": 0}, "digest_size is 0"),
        (64, {"digest_size": 32, "stride": 16}, "stride: 16"),
        (64, {"digest_size": -1}, "digest_size: -1"),
        (64, {"digest_size": 8}, "8 bytes, need at least 16"),
        (64, {"digest_size": 32, "group": 1}, "group: 1"),
    ],
)
def test_wrong_digests(
    client: kvferry.Client, size: int, arguments: dict[str, int], text: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=text):
        client.keys_from_digests(bytes(size), **arguments)
