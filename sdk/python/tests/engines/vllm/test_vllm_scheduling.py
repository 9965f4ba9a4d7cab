"""Preemption, aborts, waiting: what a scheduler does while KV comes and
goes."""

import pytest

from harness.blocks import Blocks
from harness.engine import Engine
from harness.models import HYBRID, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site

by_shape = pytest.mark.parametrize(
    "shape", [LLAMA, HYBRID], ids=lambda s: s.name
)
by_load = pytest.mark.parametrize("load", ["async", "sync"])


@by_shape
@by_load
@pytest.mark.parametrize("second_runner", [False, True])
def test_preempted_and_resumed(
    site: Site, shape: ModelShape, load: str, second_runner: bool
) -> None:
    """Few blocks: requests lose their pages and get them back, from the
    daemon where it has them."""
    text = {f"r{i}": prompt(20 + i, 120) for i in range(5)}
    engine = site.engine(
        load,
        shape=shape,
        second_runner=second_runner,
        blocks=70 if shape is HYBRID else 40,
        max_tokens=260,
        reserve_whole=False,
    )
    preempted: set[str] = set()
    engine.before_step = lambda output: preempted.update(
        output.preempted_req_ids or ()
    )

    engine.generate(text, 70)

    site.expect(engine, text, 70)
    assert engine.deviations() == []
    assert preempted


@by_shape
def test_abort_while_waiting_for_remote_kv(
    site: Site, shape: ModelShape
) -> None:
    text = {"a": prompt(30, 200)}
    engine = site.engine(shape=shape)
    engine.generate(text)
    site.settle(engine)
    engine.forget()

    engine.add("b", text["a"])
    engine.add("other", prompt(31, 60))
    waiting = False

    def abort(running: Engine) -> None:
        nonlocal waiting
        state = running.describe().get("b", "")
        if "WAITING_FOR_REMOTE_KVS" in state and not waiting:
            waiting = True
            running.core.abort_requests(["b"])

    # The scheduler's part of the step only: the load is under way.
    engine.before_step = lambda output: abort(engine)
    engine.run()

    assert waiting
    assert engine.outputs["b"].tokens == []
    site.expect(engine, {"other": prompt(31, 60)})
    engine.before_step = None
    again = {"c": text["a"]}
    engine.generate(again)
    site.expect(engine, again)


def test_abort_before_the_load_starts(site: Site) -> None:
    """Matched, pinned, and gone before a step was made of it."""
    text = {"a": prompt(32, 200)}
    engine = site.engine()
    engine.generate(text)
    site.settle(engine)
    engine.forget()

    engine.add("b", text["a"])
    output = engine.scheduler.schedule()
    engine.core.abort_requests(["b"])
    # Steps go on as the engine's loop has them, from where they were.
    result = engine.executor.execute_model(output)
    engine.scheduler.update_from_output(output, result)
    engine.run()

    assert engine.outputs["b"].tokens == []
    again = {"c": text["a"]}
    engine.generate(again)
    site.expect(engine, again)


@by_shape
@by_load
def test_abort_of_running_requests(
    site: Site, shape: ModelShape, load: str
) -> None:
    """Aborted in their prompt and in their answer; saves may be under way."""
    text = family(33, 90, (10, 100, 200))
    engine = site.engine(load, shape=shape, chunk_tokens=48)
    for name, tokens in text.items():
        engine.add(name, tokens, 20)
    for _ in range(4):
        engine.step()
    engine.core.abort_requests(["p1"])
    engine.run()
    site.settle(engine)
    engine.forget()
    again = {f"{name}-again": tokens for name, tokens in text.items()}

    engine.generate(again, 20)

    site.expect(engine, text, 20, names=["p0", "p2"])
    site.expect(engine, again, 20)
    assert engine.deviations() == []


def test_waits_for_what_another_writes(site: Site) -> None:
    """None, "ask again", while a publication of these blocks is open; a hit
    when it is committed."""
    text = {"a": prompt(34, 200)}
    engine = site.engine(connector={"wait_in_flight_ms": 20_000})
    engine.generate(text)
    site.settle(engine)
    blocks = Blocks.of(site)
    site.evict_all()
    engine.forget()
    with blocks.begin() as publication:
        engine.add("b", text["a"])
        for _ in range(20):
            engine.step()

        # It waits, and nothing of it is computed meanwhile.
        assert "WAITING" in engine.describe()["b"]
        assert not any("b" in step for step in engine.scheduled)
        blocks.write(publication)
    engine.run()

    site.expect(engine, {"b": text["a"]})
    assert engine.outputs["b"].external_tokens == 192


def test_does_not_wait_for_ever(site: Site) -> None:
    """The other engine stalls: after its patience this one computes."""
    text = {"a": prompt(35, 100)}
    engine = site.engine(connector={"wait_in_flight_ms": 100})
    engine.generate(text)
    site.settle(engine)
    blocks = Blocks.of(site)
    site.evict_all()
    engine.forget()
    publication = blocks.begin()

    engine.generate({"b": text["a"]})

    site.expect(engine, {"b": text["a"]})
    assert engine.outputs["b"].external_tokens == 0
    publication.abort()
    blocks.close()


def test_many_at_once(site: Site) -> None:
    """More requests than run at a time, hits and misses mixed."""
    text = {}
    for i in range(4):
        for name, tokens in family(40 + i, 60, (5, 30, 80, 120)).items():
            text[f"{i}-{name}"] = tokens
    engine = site.engine(chunk_tokens=96, sequences=5)
    engine.generate(text, 5)
    site.settle(engine)
    engine.forget()
    again = {f"{name}-again": tokens for name, tokens in text.items()}

    engine.generate(again, 5)

    site.expect(engine, text, 5)
    site.expect(engine, again, 5)
    assert engine.deviations() == []
    assert engine.external_tokens(again) > 1000
