"""The fake model's arithmetic: KV bytes from tokens, tokens from KV bytes.

A token's KV in a layer is a function of the token, all before it, its layer
and its head. A sampled token is a function of every KV byte its attention
reads, so a wrong or stale page gives another token. What attention read that
is not what the prompt's tokens give is a deviation; it spoils the KV of the
layers above, as it would in a model.
"""

import numpy as np

Array = np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def mix(values: Array) -> Array:
    """A bijection of 64-bit words that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    values = (values ^ (values >> np.uint64(27))) * np.uint64(
        0x94D049BB133111EB
    )
    return values ^ (values >> np.uint64(31))


def mix_int(value: int) -> int:
    return int(mix(np.array([value & _MASK], np.uint64))[0])


def extend_chain(chain: list[int], tokens: list[int], weights: int) -> None:
    """Appends the states of tokens[len(chain):]: each of all up to it."""
    state = chain[-1] if chain else weights * 0x2545F4914F6CDD1D & _MASK
    for token in tokens[len(chain) :]:
        state = (state ^ token) * 0xD6E8FEB86659FD93 & _MASK
        state = (state ^ (state >> 32)) * 0xD6E8FEB86659FD93 & _MASK
        state ^= state >> 29
        chain.append(state)


def kv_words(states: Array, layer: int, heads: range, words: int) -> Array:
    """KV of tokens with these states: [token, head, word] of 64 bits."""
    place = (
        np.arange(heads.start, heads.stop, dtype=np.uint64)[:, None]
        * np.uint64(1 << 20)
        + np.arange(words, dtype=np.uint64)[None, :]
        + np.uint64((layer + 1) << 40)
    )
    return mix(states[:, None, None] ^ (place * _GOLDEN)[None, :, :])


def digest(read: Array, first: int, layer: int, heads: range) -> int:
    """Of KV read at positions first, first + 1, ...; sums over ranks and
    layers to the whole attention's."""
    positions = np.arange(first, first + len(read), dtype=np.uint64)
    odd = np.uint64(1)
    head_weights = mix(
        np.arange(heads.start, heads.stop, dtype=np.uint64)
        + np.uint64((layer + 1) << 32)
    )
    word_weights = mix(np.arange(read.shape[2], dtype=np.uint64) + _GOLDEN)
    cells = mix((read * (word_weights | odd)).sum(axis=2, dtype=np.uint64))
    cells = cells * (head_weights | odd) * (mix(positions) | odd)[:, None]
    return int(cells.sum(dtype=np.uint64))


def deviation(read: Array, expected: Array, first: int) -> int:
    """Zero when what was read is what was to be there."""
    if np.array_equal(read, expected):
        return 0
    return digest(read - expected, first, 0, range(read.shape[1])) | 1


def sample(total_digest: int, vocabulary: int) -> int:
    # 0, 1 and 2 are left to special tokens.
    return 3 + mix_int(total_digest) % (vocabulary - 3)
