"""Layers of a cache: what they keep, and what a restored one says."""

import random

import pytest
import torch
from tiny_models import build_config
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from kvferry.transformers.layers import SlidingLayer, held, new_cache, put
from kvferry.transformers.spec import cache_spec

WINDOW = 40
SIZE = 16


def states(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """K and V whose elements say which token they are of."""
    tokens = torch.arange(first, first + count, dtype=torch.float64)
    keys = tokens.view(1, 1, -1, 1).expand(1, 2, count, 4).contiguous()
    return keys, -keys


@pytest.mark.parametrize("seed", range(8))
def test_a_sliding_layer_is_the_library_s_and_remembers_more(seed):
    chance = random.Random(seed)
    keep = 4 * SIZE - 1
    layer = SlidingLayer(WINDOW, keep)
    model = DynamicSlidingWindowLayer(WINDOW)

    seen = 0
    for _ in range(12):
        count = chance.choice([1, 1, 1, 3, 16, 37, 130])
        given = states(seen, count)
        expected = model.update(*given)
        found = layer.update(*given)
        seen += count

        for tensor, other in zip(found, expected):
            assert torch.equal(tensor, other)
        assert torch.equal(layer.keys, model.keys)
        assert layer.get_mask_sizes(3) == model.get_mask_sizes(3)
        assert layer.get_seq_length() == seen
        more = layer.remembered()
        assert (more.first, more.end) == (max(more.first, 0), seen)
        assert torch.equal(more.keys, states(more.first, seen - more.first)[0])
        assert torch.equal(more.values, -more.keys)
        # Every block that a hit at the last boundary needs, and no more than
        # the last update and what was asked for.
        assert more.first <= max(0, seen // SIZE * SIZE - 3 * SIZE)
        assert seen - more.first <= max(keep, WINDOW - 1) + count


def test_what_was_cropped_is_not_remembered():
    layer = SlidingLayer(WINDOW, 63)
    layer.activate_past_recording()
    layer.update(*states(0, 100))
    layer.crop(-10)

    assert layer.remembered() is None

    layer.update(*states(90, 1))

    more = layer.remembered()
    assert more.end == 91
    assert torch.equal(more.keys, states(more.first, 91 - more.first)[0])

    layer.reset()

    assert layer.remembered() is None


# Goal    Masks and positions of the next forward come out as if the layer had
#         seen every token.
@pytest.mark.parametrize("tokens", [1, 15, 38, 39, 40, 41, 64, 300])
@pytest.mark.parametrize("query", [1, 7, 50])
def test_a_restored_layer_says_what_one_that_saw_all_says(tokens, query):
    config = build_config("gpt-oss", sliding_window=WINDOW)
    spec = cache_spec(config, dtype=torch.float64, model="tiny")
    whole = DynamicCache(config=config)
    restored = new_cache(spec, config, publish=True)
    first = max(0, tokens // SIZE - 3) * SIZE
    for i in range(4):
        whole.update(*states(0, tokens), i)
        start = first if i in spec.groups[1].layers else 0
        put(restored.layers[i], *states(start, tokens - start), tokens)

    assert restored.get_seq_length() == tokens
    for i in range(4):
        one, other = restored.layers[i], whole.layers[i]
        assert one.get_mask_sizes(query) == other.get_mask_sizes(query)
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
        for tensor, expected in zip(
            one.update(*states(tokens, query)),
            other.update(*states(tokens, query)),
        ):
            assert torch.equal(tensor, expected)
        assert one.get_seq_length() == other.get_seq_length()


def test_nothing_is_held_before_the_first_forward():
    config = build_config("gpt-oss")
    spec = cache_spec(config, dtype=torch.float64, model="tiny")

    for cache in (new_cache(spec, config, publish=True), DynamicCache()):
        assert [held(cache, group) for group in spec.groups] == [[], []]
