"""What one engine computed, another run or engine takes over: equal tokens,
less computed."""

from typing import Any

import pytest

from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site

SHAPES = [LLAMA, HYBRID, LATENT]
BLOCK = 16

by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
by_load = pytest.mark.parametrize("load", ["async", "sync"])


def cacheable(tokens: int) -> int:
    """How much of a prompt can hit: whole blocks, one token left over."""
    return (tokens - 1) // BLOCK * BLOCK


def warm(text: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same prompts under other names."""
    return {f"{name}-warm": tokens for name, tokens in text.items()}


@by_shape
@by_load
def test_the_same_engine_after_it_forgot(
    site: Site, shape: ModelShape, load: str
) -> None:
    text = {"a": prompt(1, 150), "b": prompt(2, 33), "c": prompt(3, 15)}
    engine = site.engine(load, shape=shape)

    engine.generate(text, 6)
    site.settle(engine)
    computed = engine.computed_tokens
    engine.forget()
    again = warm(text)
    engine.generate(again, 6)

    site.expect(engine, text, 6)
    site.expect(engine, again, 6)
    assert engine.deviations() == []
    hits = {n: engine.outputs[n].external_tokens for n in again}
    assert hits == {n: cacheable(len(t)) for n, t in again.items()}
    assert engine.computed_tokens - computed == computed - sum(hits.values())


@by_shape
@by_load
def test_a_second_engine(site: Site, shape: ModelShape, load: str) -> None:
    text = family(4, 100, (0, 20, 60))
    first = site.engine(shape=shape)
    first.generate(text)
    site.settle(first)
    second = site.engine(load, shape=shape)

    second.generate(text)

    site.expect(first, text)
    site.expect(second, text)
    assert second.deviations() == []
    assert second.external_tokens(text) > 0
    assert second.computed_tokens < first.computed_tokens


@by_shape
def test_a_part_of_the_prompt(site: Site, shape: ModelShape) -> None:
    """A hit ends where the prompts part, at a block's boundary."""
    first = site.engine(shape=shape)
    first.generate({"a": prompt(5, 100)})
    site.settle(first)
    second = site.engine(shape=shape)
    text = {"b": prompt(5, 100)[:90] + prompt(6, 80)}

    second.generate(text)

    site.expect(second, text)
    expected = 80
    assert second.outputs["b"].external_tokens == expected
    assert second.computed_tokens == 170 - expected + 3


@by_shape
@by_load
@pytest.mark.parametrize("count", [16, 17, 47, 48, 49, 96, 160])
def test_boundaries(
    site: Site, shape: ModelShape, load: str, count: int
) -> None:
    """A whole prompt is never taken over: its last token is computed."""
    text = {"a": prompt(7, count)}
    engine = site.engine(load, shape=shape)
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    again = warm(text)

    engine.generate(again)

    site.expect(engine, again)
    assert engine.external_tokens(again) == cacheable(count)


@by_shape
@by_load
def test_local_and_external_hits_together(
    site: Site, shape: ModelShape, load: str
) -> None:
    """The engine has the beginning, the daemon more of it."""
    head, middle, tail = prompt(8, 64), prompt(9, 64), prompt(10, 40)
    first = site.engine(shape=shape)
    first.generate({"a": head + middle})
    site.settle(first)
    second = site.engine(load, shape=shape, connector={"save": False})
    second.generate({"b": head + prompt(11, 20)})
    text = {"c": head + middle + tail}

    second.generate(text)

    site.expect(second, text)
    assert second.deviations() == []
    assert second.outputs["c"].external_tokens > 0
    # A window's blocks may be gone from the engine: then it has nothing.
    if shape is not HYBRID:
        assert second.outputs["c"].external_tokens == 64
    assert second.outputs["c"].cached_tokens == 128


@by_load
@pytest.mark.parametrize(
    "change",
    [
        {"chunk_tokens": 32},
        {"layout": "LBNHC", "chunk_tokens": 40},
        {"layout": "BLHNC"},
        {"layout": "BLNHC"},
        {"layout": "LHBNC"},
        {"layout": "BHLNC"},
        {"kernel_block_tokens": 8},
        {"second_runner": True, "chunk_tokens": 64},
        {"ahead": True, "chunk_tokens": 64},
        {"ahead": True, "second_runner": True},
        {"local_cache": False},
        {"layer_hooks": False},
        {"block_tokens": 32},
        {"hash_algorithm": "sha256_cbor"},
    ],
    ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()),
)
@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
def test_ways_to_run(
    site: Site, shape: ModelShape, load: str, change: dict[str, Any]
) -> None:
    """Layouts, model runners, chunks: the same bytes come back."""
    text = family(12, 80, (5, 70, 150, 33))
    engine = site.engine(load, shape=shape, **change)
    engine.generate(text, 8)
    site.settle(engine)
    computed = engine.computed_tokens
    engine.forget()
    again = warm(text)

    engine.generate(again, 8)

    site.expect(engine, text, 8)
    site.expect(engine, again, 8)
    assert engine.deviations() == []
    assert engine.external_tokens(again) > 0
    assert engine.computed_tokens - computed < computed


def test_layouts_meet(site: Site) -> None:
    """Pages are the same whatever the strides: an engine with another layout
    takes them over."""
    text = family(13, 100, (0, 40, 90))
    first = site.engine(layout="LBHNC")
    first.generate(text)
    site.settle(first)

    for layout in ("LBNHC", "BLHNC", "BHLNC"):
        other = site.engine(layout=layout, connector={"save": False})
        other.generate(text)

        site.expect(other, text)
        assert other.deviations() == []
        assert other.external_tokens(text) == sum(
            cacheable(len(tokens)) for tokens in text.values()
        )


def test_what_was_generated_is_kept(site: Site) -> None:
    """The next turn of a conversation begins with the answer of the last."""
    engine = site.engine(chunk_tokens=64)
    question = {"turn-1": prompt(14, 50)}
    answer = engine.generate(question, 60)["turn-1"]
    site.settle(engine)
    engine.forget()
    text = {"turn-2": question["turn-1"] + answer + prompt(15, 30)}

    engine.generate(text)

    site.expect(engine, text)
    # The last token's KV is not computed when it ends the answer.
    assert engine.outputs["turn-2"].external_tokens == (50 + 59) // 16 * 16


def test_min_tokens(site: Site) -> None:
    text = {"short": prompt(16, 40), "long": prompt(17, 100)}
    engine = site.engine(connector={"min_tokens": 64})
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    again = warm(text)

    engine.generate(again)

    site.expect(engine, again)
    assert engine.outputs["short-warm"].external_tokens == 0
    assert engine.outputs["long-warm"].external_tokens == 96


def test_salted_prompts_do_not_meet(site: Site) -> None:
    engine = site.engine()
    text = prompt(18, 80)
    engine.add("a", text, salt="red")
    engine.run()
    site.settle(engine)
    engine.forget()

    engine.add("b", text, salt="blue")
    engine.add("c", text, salt="red")
    engine.run()

    site.expect(engine, {"a": text, "b": text, "c": text})
    assert engine.outputs["b"].external_tokens == 0
    assert engine.outputs["c"].external_tokens == 64


@pytest.mark.parametrize("sliding", [8, 32])
def test_a_group_that_asks_for_other_blocks(site: Site, sliding: int) -> None:
    """vLLM brings both groups to blocks of one size, the connector follows."""
    text = family(19, 80, (5, 70, 150))
    engine = site.engine(shape=HYBRID, sliding_block_tokens=sliding)
    groups = engine.scheduler.kv_cache_config.kv_cache_groups
    sizes = {group.kv_cache_spec.block_size for group in groups}
    assert sizes == {max(16, sliding)}
    engine.generate(text, 8)
    site.settle(engine)
    engine.forget()
    again = warm(text)

    engine.generate(again, 8)

    site.expect(engine, again, 8)
    assert engine.deviations() == []
    unit = max(sizes)
    hits = {n: engine.outputs[n].external_tokens for n in again}
    assert hits == {
        name: (len(tokens) - 1) // unit * unit for name, tokens in again.items()
    }
