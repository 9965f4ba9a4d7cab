"""Several workers: their slices make a block together."""

from dataclasses import replace
from typing import Any

import pytest
from vllm.v1.core.sched.output import SchedulerOutput

from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site

SHAPES = [LLAMA, HYBRID, LATENT]

by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
by_load = pytest.mark.parametrize("load", ["async", "sync"])


@by_shape
@by_load
@pytest.mark.parametrize("tp_size", [2, 4])
def test_ranks_keep_and_take_their_heads(
    site: Site, shape: ModelShape, load: str, tp_size: int
) -> None:
    text = family(130, 80, (10, 60, 120))
    engine = site.engine(load, shape=shape, tp_size=tp_size)
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    again = {f"{name}-2": tokens for name, tokens in text.items()}

    engine.generate(again)

    site.expect(engine, again)
    assert engine.deviations() == []
    # Of the common beginning, sync loads share one copy in the engine.
    assert sum(engine.outputs[name].cached_tokens for name in again) == sum(
        (len(tokens) - 1) // 16 * 16 for tokens in text.values()
    )


@pytest.mark.parametrize(
    "writers, readers", [(4, 2), (2, 4), (1, 4), (4, 1), (2, 1)]
)
@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
def test_engines_of_other_sizes_meet(
    site: Site, shape: ModelShape, writers: int, readers: int
) -> None:
    """With as many slices as the larger has ranks."""
    text = family(131, 80, (10, 60, 120))
    keys = {"slice_count": 4}
    writer = site.engine(shape=shape, tp_size=writers, connector=keys)
    writer.generate(text)
    site.settle(writer)
    reader = site.engine(shape=shape, tp_size=readers, connector=keys)

    reader.generate(text)

    site.expect(writer, text)
    site.expect(reader, text)
    assert reader.deviations() == []
    assert reader.external_tokens(text) > 200


@by_load
def test_a_slice_missing_in_one_rank_is_a_miss(site: Site, load: str) -> None:
    """A worker that saves nothing: its block is nobody's hit, and its
    publication ends by its stall."""
    text = {"a": prompt(132, 100)}
    engine = site.engine(load, tp_size=2, connector={"stall_timeout_ms": 300})
    engine.executor.for_rank = without_saves
    engine.generate(text)
    site.settle_saves(engine)
    engine.forget()
    engine.executor.for_rank = lambda rank, output: output
    again = {"b": text["a"]}

    engine.generate(again)

    site.expect(engine, again)
    assert engine.outputs["b"].external_tokens == 0
    # What it computed now is kept: the fault was that of one job.
    site.settle(engine)
    engine.forget()
    third = {"c": text["a"]}
    engine.generate(third)
    site.expect(engine, third)
    assert engine.outputs["c"].external_tokens == 96


def without_saves(rank: int, output: SchedulerOutput) -> SchedulerOutput:
    if rank == 0:
        return output
    metadata: Any = replace(output.kv_connector_metadata, saves=[])  # type: ignore
    return replace(output, kv_connector_metadata=metadata)


@by_shape
@by_load
def test_a_load_that_fails_in_one_rank(
    site: Site, shape: ModelShape, load: str
) -> None:
    """All ranks compute again: half of a page is no page."""
    text = family(133, 100, (40, 80))
    writer = site.engine(shape=shape, tp_size=2)
    writer.generate(text)
    site.settle(writer)
    engine = site.engine(load, shape=shape, tp_size=2)
    struck: list[int] = []

    def lose(rank: int, output: SchedulerOutput) -> SchedulerOutput:
        metadata: Any = output.kv_connector_metadata
        if rank == 0 or not metadata.loads or struck:
            return output
        struck.append(rank)
        load_request = metadata.loads[0]
        part = load_request.parts[0]
        damaged = replace(part, keys=bytes(len(part.keys)))
        loads = [
            replace(load_request, parts=[damaged, *load_request.parts[1:]]),
            *metadata.loads[1:],
        ]
        return replace(
            output, kv_connector_metadata=replace(metadata, loads=loads)
        )

    engine.executor.for_rank = lose
    engine.generate(text, 6)

    assert struck
    site.expect(engine, text, 6)


@pytest.mark.parametrize("tp_size", [2])
def test_few_heads_are_replicated(site: Site, tp_size: int) -> None:
    """One head for two ranks: the page is kept once."""
    shape = replace(LLAMA, name="one-head", head_count=1)
    text = family(134, 80, (10, 60))
    engine = site.engine(shape=shape, tp_size=tp_size)
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    again = {f"{name}-2": tokens for name, tokens in text.items()}

    engine.generate(again)

    site.expect(engine, again)
    assert engine.external_tokens(again) > 100


def test_hand_over_between_ranks(site: Site) -> None:
    text = prompt(135, 150)
    prefiller = site.engine(role="kv_producer", tp_size=2)
    decoder = site.engine(role="kv_consumer", tp_size=2)
    prefiller.add("p", text, 1, params={"do_remote_decode": True})
    prefiller.run()

    decoder.add("d", text, 4, params=prefiller.outputs["p"].params)
    decoder.run()

    site.expect(decoder, {"d": text})
    assert decoder.outputs["d"].external_tokens == 144
