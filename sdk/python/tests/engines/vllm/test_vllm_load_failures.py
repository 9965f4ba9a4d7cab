"""Loads that fail between the scheduler's answer and the worker's copy: the
engine computes instead, and its tokens are the same."""

from collections.abc import Callable

import pytest
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import FinishReason

from harness.engine import Engine
from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import NAMESPACE, Site

Fault = Callable[[Site, SchedulerOutput], None]


def clear(site: Site, output: SchedulerOutput) -> None:
    """Every pin is revoked."""
    with site.admin() as admin:
        admin.clear(NAMESPACE)


def kill(site: Site, output: SchedulerOutput) -> None:
    site.daemon.kill()
    site.daemon.start()


def stop(site: Site, output: SchedulerOutput) -> None:
    site.daemon.restart()


def lose_last_key(site: Site, output: SchedulerOutput) -> None:
    """A block is not where the scheduler saw it."""
    lose_key(output, -1)


def lose_first_key(site: Site, output: SchedulerOutput) -> None:
    lose_key(output, 0)


def lose_key(output: SchedulerOutput, index: int) -> None:
    metadata = output.kv_connector_metadata
    part = metadata.loads[0].parts[-1]  # type: ignore[union-attr]
    keys = [part.keys[i : i + 16] for i in range(0, len(part.keys), 16)]
    keys[index] = bytes(b ^ 0xFF for b in keys[index])
    part.keys = b"".join(keys)


FAULTS = [clear, kill, stop, lose_last_key, lose_first_key]


def with_fault(site: Site, engine: Engine, fault: Fault) -> list[int]:
    """Strikes at the first step with a load, before the workers have it."""
    struck: list[int] = []

    def strike(output: SchedulerOutput) -> None:
        metadata = output.kv_connector_metadata
        if not struck and metadata.loads:  # type: ignore[union-attr]
            struck.append(engine.steps)
            fault(site, output)

    engine.before_step = strike
    return struck


@pytest.mark.parametrize("shape", [LLAMA, HYBRID, LATENT], ids=lambda s: s.name)
@pytest.mark.parametrize("load", ["async", "sync"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_recomputed(
    site: Site, shape: ModelShape, load: str, fault: Fault
) -> None:
    text = family(50, 100, (40, 100))
    writer = site.engine(shape=shape)
    writer.generate(text)
    site.settle(writer)
    # Others run beside it, so that a batch is not the failed request alone.
    engine = site.engine(load, shape=shape, chunk_tokens=96)
    struck = with_fault(site, engine, fault)

    others = {"other": prompt(51, 130)}
    engine.generate(others | text, 6)

    assert struck
    site.expect(engine, others | text, 6)
    for name in text:
        assert engine.outputs[name].finish == FinishReason.LENGTH


@pytest.mark.parametrize("load", ["async", "sync"])
@pytest.mark.parametrize("second_runner", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
def test_recomputed_by_any_runner(
    site: Site, load: str, second_runner: bool, ahead: bool
) -> None:
    text = family(52, 100, (40, 100))
    writer = site.engine()
    writer.generate(text)
    site.settle(writer)
    engine = site.engine(load, second_runner=second_runner, ahead=ahead)
    struck = with_fault(site, engine, lose_last_key)

    engine.generate(text, 6)

    assert struck
    site.expect(engine, text, 6)


@pytest.mark.parametrize("load", ["async", "sync"])
def test_the_part_before_the_fault_is_kept(site: Site, load: str) -> None:
    """One group: the engine is told which blocks failed."""
    text = {"a": prompt(53, 200)}
    engine = site.engine(load)
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    computed = engine.computed_tokens
    struck = with_fault(site, engine, lose_last_key)

    engine.generate({"b": text["a"]}, 1)

    assert struck
    site.expect(engine, {"b": text["a"]}, 1)
    if load == "async":
        # All but the lost block's tokens and the last ones are loaded.
        assert engine.computed_tokens - computed == 200 - 192 + 16


@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
@pytest.mark.parametrize("load", ["async", "sync"])
def test_evicting_what_is_pinned(
    site: Site, shape: ModelShape, load: str
) -> None:
    """An operator's eviction passes over it: the hit holds."""
    text = {"a": prompt(54, 200)}
    engine = site.engine(load, shape=shape, connector={"save": True})
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    pinned: list[int] = []

    def evict(running: Site, output: SchedulerOutput) -> None:
        pinned.append(running.evict()[1])

    with_fault(site, engine, evict)
    engine.generate({"b": text["a"]}, 3)

    assert pinned[0] > 0
    site.expect(engine, {"b": text["a"]}, 3)
    assert engine.outputs["b"].external_tokens == 192
    assert engine.deviations() == []


def test_policy_fail(site: Site) -> None:
    """vLLM's other policy: the request ends with an error, the engine and
    the others go on."""
    text = family(55, 100, (40, 100))
    writer = site.engine()
    writer.generate(text)
    site.settle(writer)
    engine = site.engine(policy="fail")
    struck = with_fault(site, engine, lose_first_key)

    engine.generate(text, 3)

    assert struck
    ends = [engine.outputs[name].finish for name in text]
    assert ends.count(FinishReason.ERROR) == 1
    again = {f"{name}-again": tokens for name, tokens in text.items()}
    engine.before_step = None
    engine.generate(again, 3)
    site.expect(engine, again, 3)
