"""The daemon stopped, killed and restarted under a running engine."""

import random

import pytest

from harness.engine import Engine
from harness.models import HYBRID, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site, until


def until_hit(site: Site, engine: Engine, text: list[int], what: str) -> None:
    """Runs the prompt of 100 tokens until all its full blocks come from
    outside the engine; its output is right every time."""
    count = 0

    def hits() -> bool:
        nonlocal count
        count += 1
        name = f"again{count}"
        engine.forget()
        engine.generate({name: text})
        site.expect(engine, {name: text})
        return engine.outputs[name].external_tokens == 96

    until(hits, what)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
@pytest.mark.parametrize("load", ["async", "sync"])
def test_faults_at_random_steps(
    site: Site, shape: ModelShape, load: str, seed: int
) -> None:
    numbers = random.Random(f"{seed} {shape.name} {load}")
    print(f"seed {seed} {shape.name} {load}")
    text = family(60 + seed, 80, (10, 50, 100, 150)) | family(
        70 + seed, 50, (20, 90)
    )
    engine = site.engine(
        load, shape=shape, chunk_tokens=numbers.choice((32, 64, 128))
    )

    def strike(running: Engine) -> None:
        if numbers.random() > 0.12:
            return
        daemon = site.daemon
        if not daemon.running:
            daemon.start()
        elif numbers.random() < 0.5:
            daemon.kill()
        elif numbers.random() < 0.5:
            daemon.stop()
        else:
            daemon.restart()

    for turn in range(3):
        names = {f"{turn}-{name}": tokens for name, tokens in text.items()}
        engine.generate(names, 8, each=strike)
        site.expect(engine, names, 8)
        if numbers.random() < 0.7:
            engine.run(deadline=30.0)
            engine.forget()
    assert engine.deviations() == [] or load == "sync"
    if not site.daemon.running:
        site.daemon.start()


@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
def test_comes_back_after_a_restart(site: Site, shape: ModelShape) -> None:
    """It attaches by itself, saves and hits again."""
    engine = site.engine(shape=shape)
    engine.generate({"a": prompt(80, 100)})
    site.daemon.kill()
    engine.generate({"b": prompt(81, 100)})
    site.daemon.start()
    until_hit(site, engine, prompt(82, 100), "a hit after the restart")


def test_starts_without_a_daemon(site: Site) -> None:
    """The engine serves; when the daemon comes, it is used."""
    site.daemon.stop()
    engine = site.engine(connector={"attach_timeout_ms": 200})
    text = {"a": prompt(83, 100)}
    engine.generate(text)
    site.expect(engine, text)
    site.daemon.start()
    until_hit(site, engine, text["a"], "a hit after the daemon came")


def test_a_small_pool(site: Site) -> None:
    """No space, eviction: saves are lost, tokens are not."""
    site.daemon.stop()
    small = type(site.daemon)(site.daemon.directory, pool="8 MiB")
    site.daemon = small
    with small:
        engine = site.engine(chunk_tokens=128)
        for turn in range(12):
            text = family(90 + turn, 100, (20, 60, 100, 200))
            names = {f"{turn}-{name}": t for name, t in text.items()}
            engine.generate(names)
            site.expect(engine, names)
        site.close()
        site.engines.clear()
