"""Small namespaces, random blocks, and keys as include/kvferry/key.h says."""

import hashlib
import struct
from collections.abc import Iterable, Sequence

import kvferry
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BLOCK_TOKENS = 16
KEY_BYTES = 16


def small_group(name: str = "full", **fields: object) -> kvferry.GroupSpec:
    """A group with blocks of 4 KiB: 2 layers, K and V, 2 heads of 32 bytes."""
    values: dict[str, object] = {
        "block_tokens": BLOCK_TOKENS,
        "layer_count": 2,
        "head_count": 2,
        "head_bytes": 32,
    }
    values.update(fields)
    return kvferry.GroupSpec(name, **values)  # type: ignore[arg-type]


def random_blocks(
    count: int, group: kvferry.GroupSpec, seed: int = 1
) -> Bytes:
    """`count` blocks of the group, one a row."""
    random = np.random.default_rng(seed)
    return random.integers(
        0, 256, (count, group.block_bytes), dtype=np.uint8
    )


def tokens(count: int, first: int = 0) -> NDArray[np.uint32]:
    return np.arange(first, first + count, dtype=np.uint32)


def reference_key(
    salt: bytes,
    group: int,
    parent: bytes,
    values: Sequence[int],
    extra: bytes = b"",
) -> bytes:
    """The key of one block by the formula, with nothing of KVFerry."""
    group_salt = hashlib.sha256(
        b"kvferry-key-1" + salt + struct.pack("<I", group)
    ).digest()
    text = (
        group_salt
        + parent
        + struct.pack("<I", len(values))
        + struct.pack(f"<{len(values)}I", *values)
        + extra
    )
    return hashlib.sha256(text).digest()[:KEY_BYTES]


def reference_keys(
    salt: bytes,
    group: int,
    values: Sequence[int],
    *,
    parent: bytes = bytes(KEY_BYTES),
    extra: bytes = b"",
    block_tokens: int = BLOCK_TOKENS,
) -> bytes:
    keys = []
    for start in range(0, len(values) - block_tokens + 1, block_tokens):
        block = values[start : start + block_tokens]
        parent = reference_key(salt, group, parent, block, extra)
        keys.append(parent)
    return b"".join(keys)


def split_keys(keys: bytes) -> list[bytes]:
    return [keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES)]


def address(array: NDArray[np.generic]) -> int:
    """Where an array's first byte is."""
    pointer: int = array.__array_interface__["data"][0]
    return pointer


def join(keys: Iterable[bytes]) -> bytes:
    return b"".join(keys)
