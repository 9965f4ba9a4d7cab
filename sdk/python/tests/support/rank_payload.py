"""The bytes that a page must have: a function of its key and slice, so that
every process can tell right ones from wrong ones."""

import numpy as np

_STEP = 0x9E3779B97F4A7C15
_SPREAD = 0xC2B2AE3D27D4EB4F
_MASK = (1 << 64) - 1


def page_bytes(key: bytes, slice_index: int, size: int) -> np.ndarray:
    """`size` bytes (a multiple of 8), no two words of them equal."""
    low = int.from_bytes(key[:8], "little")
    high = int.from_bytes(key[8:16], "little")
    seed = (low ^ (high * (2 * slice_index + 1))) & _MASK
    words = np.arange(size // 8, dtype=np.uint64)
    words *= np.uint64(_STEP)
    words += np.uint64(seed)
    words ^= words >> np.uint64(29)
    words *= np.uint64(_SPREAD)
    return words.view(np.uint8)


def is_page(page: object, key: bytes, slice_index: int) -> bool:
    """Whether the buffer `page` is that page."""
    found = np.frombuffer(page, dtype=np.uint8)  # type: ignore[call-overload]
    return found.size > 0 and np.array_equal(
        found, page_bytes(key, slice_index, found.size)
    )


def split_keys(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]


def block_bytes(key: bytes, slice_count: int, page_size: int) -> bytes:
    """A whole block, slice after slice."""
    return b"".join(
        page_bytes(key, s, page_size).tobytes() for s in range(slice_count)
    )
