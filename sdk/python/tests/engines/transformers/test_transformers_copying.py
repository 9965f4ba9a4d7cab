"""Tensors of any strides and element types, to pages and back."""

import pytest
import torch
from tiny_models import build_config

from kvferry.transformers import KVFerryCache, copying, sequence

TOKENS = 75
SHAPE = (1, 2, TOKENS, 16)


def plain(dtype):
    return torch.randn(SHAPE).to(dtype)


def tokens_before_heads(dtype):
    return torch.randn(1, TOKENS, 2, 16).to(dtype).transpose(1, 2)


def part_of_more(dtype):
    return torch.randn(1, 3, 2 * TOKENS, 32).to(dtype)[:, 1:, 5:80, 8:24]


def elements_apart(dtype):
    return torch.randn(1, 2, 16, TOKENS).to(dtype).transpose(2, 3)


@pytest.fixture
def kv(daemon):
    def make(dtype, **options):
        return KVFerryCache(
            build_config("llama"), dtype=dtype, model="tiny",
            socket_path=daemon.socket_path, strict=True, **options,
        )  # fmt: skip

    return make


@pytest.fixture(params=["strided", "through torch"])
def way(request, monkeypatch):
    """How it copies: as the CPU's, or as a device's tensors."""
    if request.param == "through torch":
        monkeypatch.setattr(copying, "copies_strided", lambda device: False)


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (plain, plain),
        (tokens_before_heads, tokens_before_heads),
        (part_of_more, part_of_more),
        (elements_apart, elements_apart),
        (plain, tokens_before_heads),
    ],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("slices", [1, 2])
def test_any_strides_come_back(kv, way, keys, values, slices):
    torch.manual_seed(1)
    with kv(torch.float32, slices=slices) as caches:
        cache = caches.new_cache()
        given = [
            (keys(torch.float32), values(torch.float32)) for _ in range(4)
        ]
        for layer, (k, v) in zip(cache.layers, given):
            layer.update(k[..., :0, :], v[..., :0, :])
            layer.keys, layer.values = k, v
        ids = torch.arange(TOKENS)

        assert caches.publish(cache, ids) == TOKENS // 16
        found, tokens = caches.restore(ids)

        assert tokens == 64
        for layer, (k, v) in zip(found.layers, given):
            assert torch.equal(layer.keys, k[..., :64, :])
            assert torch.equal(layer.values, v[..., :64, :])


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.bfloat16, torch.float16,
     torch.float8_e4m3fn],
    ids=str,
)  # fmt: skip
def test_any_element_type_comes_back(kv, way, dtype):
    torch.manual_seed(2)
    with kv(dtype) as caches:
        cache = caches.new_cache()
        given = [(plain(dtype), plain(dtype)) for _ in range(4)]
        for i, (k, v) in enumerate(given):
            cache.update(k, v, i)
        ids = torch.arange(TOKENS)

        assert caches.publish(cache, ids, tail=True) == TOKENS // 16 + 1
        found, tokens = caches.restore(ids)

        assert tokens == TOKENS - 1
        for layer, (k, v) in zip(found.layers, given):
            assert same_bits(layer.keys, k[..., :tokens, :])
            assert same_bits(layer.values, v[..., :tokens, :])


# Goal    Two that have all heads and publish half of them each.
def test_a_part_of_the_slices(kv, way):
    torch.manual_seed(3)
    given = [(plain(torch.float64), plain(torch.float64)) for _ in range(4)]
    ids = torch.arange(TOKENS)
    for rank in range(2):
        with kv(
            torch.float64, slices=2, slice_first=rank, slice_count=1,
            engine_instance=9,
        ) as caches:  # fmt: skip
            cache = caches.new_cache()
            for i, (k, v) in enumerate(given):
                cache.update(k, v, i)
            assert caches.restore(ids).tokens == 0
            assert caches.publish(cache, ids) == TOKENS // 16
    with kv(torch.float64, slices=2) as caches:
        found, tokens = caches.restore(ids)

    assert tokens == 64
    for layer, (k, v) in zip(found.layers, given):
        assert torch.equal(layer.keys, k[..., :64, :])
        assert torch.equal(layer.values, v[..., :64, :])


# Goal    A sequence longer than a publication goes on in the next one.
def test_more_blocks_than_a_publication_has(kv, monkeypatch):
    monkeypatch.setattr(sequence, "_POSITIONS_MAX", 5)
    monkeypatch.setattr(sequence, "_BLOCKS_PER_CHUNK", 2)
    ids = torch.arange(200)
    with kv(torch.float32) as caches:
        cache = caches.new_cache()
        with caches.sequence() as published:
            written = 0
            for end in (40, 120, 200):
                for i in range(4):
                    given = torch.randn(1, 2, end - cache_end(cache, i), 16)
                    cache.update(given, -given, i)
                written += published.publish(cache, ids, tail=end == 200)
        found, tokens = caches.restore(ids)

        assert written == 12 + 1
        assert caches.stats.published_blocks == 13
        assert tokens == 199
        for layer, other in zip(found.layers, cache.layers):
            assert torch.equal(layer.keys, other.keys[..., :199, :])


def cache_end(cache, layer):
    return cache.layers[layer].get_seq_length()


def same_bits(one, other):
    return one.dtype == other.dtype and torch.equal(
        one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)
    )
