"""What must not meet does not: old weights, other dtypes, other geometry."""

from dataclasses import replace
from typing import Any

import pytest

from harness.engine import Engine
from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site
from kvferry import errors

by_shape = pytest.mark.parametrize(
    "shape", [LLAMA, HYBRID], ids=lambda s: s.name
)


def set_weights(engine: Engine, weights: int) -> None:
    for worker in engine.workers:
        worker.set_weights(weights)


@by_shape
@pytest.mark.parametrize("load", ["async", "sync"])
def test_nothing_of_old_weights(
    site: Site, shape: ModelShape, load: str
) -> None:
    """A reset of the connector's cache, as after a weight update."""
    text = family(120, 100, (20, 60))
    engine = site.engine(load, shape=shape)
    engine.generate(text)
    site.settle(engine)

    set_weights(engine, 2)
    engine.forget(connector=True)
    again = {f"{name}-2": tokens for name, tokens in text.items()}
    engine.generate(again)

    site.expect(engine, again, weights=2)
    assert engine.deviations() == []
    # And what the new weights give is kept.
    site.settle(engine)
    engine.forget()
    third = {f"{name}-3": tokens for name, tokens in text.items()}
    engine.generate(third)
    site.expect(engine, third, weights=2)


def test_saves_under_way_at_a_reset(site: Site) -> None:
    """Blocks of the old weights that are being saved do not come after."""
    text = family(121, 200, (20, 60, 100))
    for turn in range(6):
        engine = site.engine(chunk_tokens=64)
        names = {f"{turn}-{name}": t for name, t in text.items()}
        for name, tokens in names.items():
            engine.add(name, tokens, 2)
        engine.run(until=lambda: engine.steps > 2 + turn)
        set_weights(engine, 2)
        # The engine's own cache is in use, so that part is not done.
        engine.core.reset_prefix_cache(reset_connector=True)
        engine.core.abort_requests(list(names))
        engine.run()
        engine.forget()
        engine.deviations()
        again = {f"{name}-2": tokens for name, tokens in names.items()}
        engine.generate(again)

        site.expect(engine, again, weights=2)
        assert engine.deviations() == []
        # For the next turn the daemon is empty of these weights.
        site.settle(engine)
        engine.forget(connector=True)


def test_reset_while_the_daemon_is_away(site: Site) -> None:
    """It cannot be cleared: the old blocks are not used all the same."""
    text = {"a": prompt(122, 100)}
    engine = site.engine()
    engine.generate(text)
    site.settle(engine)
    site.daemon.kill()

    set_weights(engine, 2)
    engine.core.reset_prefix_cache(reset_connector=True)
    site.daemon.start()
    engine.generate({"b": text["a"]})

    site.expect(engine, {"b": text["a"]}, weights=2)
    assert engine.deviations() == []


OTHERS: list[dict[str, Any]] = [
    {"shape": replace(LLAMA, dtype="float16")},
    {"shape": replace(LLAMA, dtype="float32")},
    {"shape": replace(LLAMA, head_size=32)},
    {"shape": replace(LLAMA, head_count=8)},
    {"shape": replace(LLAMA, windows=(None, None))},
    {"shape": LATENT},
    {"shape": HYBRID},
    {"block_tokens": 32},
    {"tp_size": 2},
    {"connector": {"revision": "other"}},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda o: str(list(o.items())[0]))
def test_another_kind_of_engine_is_refused(
    site: Site, other: dict[str, Any]
) -> None:
    """At its start, by an error that says why; the first goes on."""
    text = {"a": prompt(123, 100)}
    first = site.engine()
    first.generate(text)
    site.settle(first)

    with pytest.raises((errors.FailedPrecondition, errors.InvalidArgument)):
        site.engine(**other)

    first.forget()
    first.generate({"b": text["a"]})
    site.expect(first, {"b": text["a"]})
    assert first.outputs["b"].external_tokens == 96


@pytest.mark.parametrize(
    "unsupported, what",
    [
        ({"pp_size": 2}, "pipeline_parallel_size"),
        ({"connector": {"slice_count": 3}}, "slice_count"),
        ({"connector": {"no_such_key": 1}}, "no_such_key"),
        ({"load": "later"}, "later"),
        ({"connector": {"save_backlog": 2.0}}, "save_backlog"),
        ({"connector": {"socket_path": 5}}, "socket_path"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    site: Site, unsupported: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        site.engine(**unsupported)


def test_another_namespace_is_another_cache(site: Site) -> None:
    text = {"a": prompt(124, 100)}
    first = site.engine()
    first.generate(text)
    site.settle(first)
    other = site.engine(
        shape=replace(LLAMA, dtype="float16"),
        connector={"namespace": "engines-float16"},
    )

    other.generate(text)

    assert other.external_tokens(text) == 0
    site.expect(other, text)


def test_hash_roots_differ_between_processes(site: Site) -> None:
    """Hashes that are not cryptographic have a root of their process's own:
    what another process wrote is a miss, never a wrong hit."""
    pytest.importorskip("xxhash")
    text = {"a": prompt(125, 100)}
    engine = site.engine(hash_algorithm="xxhash")
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    engine.generate({"b": text["a"]})

    site.expect(engine, {"b": text["a"]})
    assert engine.outputs["b"].external_tokens == 96
