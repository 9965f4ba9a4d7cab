"""Whole engines: vLLM's scheduler, its OffloadingConnector, and the tier."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kvferry.vllm import secondary_tier_plugin
from harness.engine import Engine, EngineSpec
from harness.models import HYBRID, LLAMA, ModelShape
from harness.prompts import family
from harness.references import References
from harness.site import until
from support.daemon import Daemon
from vllm.config import KVTransferConfig

PRIMARY_BYTES = 4 << 20
PROMPTS = family(11, shared=96, tails=(40, 64, 17))


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


@contextmanager
def _engine(
    daemon: Daemon, directory: Path, tier: Any = None, **spec: Any
) -> Iterator[Engine]:
    extra = {
        "spec_name": "HostTieringSpec",
        "spec_module_path": "support.tier_worker",
        "cpu_bytes_to_use": spec.pop("primary_bytes", PRIMARY_BYTES),
        "secondary_tiers": [
            {"type": "kvferry", "socket_path": daemon.socket_path}
            | (tier or {})
        ],
        **spec.pop("offloading", {}),
    }
    transfer = KVTransferConfig(
        kv_connector="OffloadingConnector",
        kv_role="kv_both",
        kv_connector_extra_config=extra,
    )
    with Engine(EngineSpec(transfer=transfer, **spec), directory) as engine:
        yield engine


def _tier_of(engine: Engine) -> Any:
    manager = engine.scheduler.connector.connector_scheduler.manager
    return manager.secondary_tiers[0]


def _settle(engine: Engine) -> None:
    """Steps until the blocks are in the primary tier and in KVFerry."""
    scheduler = engine.scheduler

    def quiet() -> bool:
        engine.step()
        return not (
            engine.busy() or scheduler.connector.has_pending_push_work()
        )

    until(quiet, "the engine's offloading")


@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda shape: shape.name)
@pytest.mark.parametrize("chunk", [1, 2], ids=["1-block", "2-block"])
def test_a_second_engine_computes_less_and_says_the_same(
    daemon: Daemon,
    models: Path,
    references: References,
    shape: ModelShape,
    chunk: int,
) -> None:
    expected = references.tokens(PROMPTS, shape=shape)
    options = {"shape": shape, "offloading": {"blocks_per_chunk": chunk}}
    with _engine(daemon, models, **options) as one:
        assert one.generate(PROMPTS) == expected
        _settle(one)
        assert one.deviations() == []
        first = one.computed_tokens
    with _engine(daemon, models, **options) as other:
        assert other.generate(PROMPTS) == expected
        assert other.deviations() == []
        assert other.external_tokens(PROMPTS) > 96
        assert other.computed_tokens < first / 2
        _settle(other)


def test_evicted_from_the_primary_tier_and_found_again(
    daemon: Daemon, models: Path, references: References
) -> None:
    """A primary tier for one prompt of three, and an engine that forgets."""
    prompts = {f"q{i}": family(20 + i, 128, (32,))["p0"] for i in range(3)}
    expected = references.tokens(prompts)
    row = 3 * 16 * 4 * 2 * 16 * 2  # layers, tokens, heads, K and V, bf16
    with _engine(daemon, models, primary_bytes=12 * row) as engine:
        for name, prompt in prompts.items():
            assert engine.generate({name: prompt})[name] == expected[name]
            _settle(engine)
        engine.forget()
        before = engine.computed_tokens
        for name, prompt in prompts.items():
            again = {f"{name}-again": prompt}
            assert list(engine.generate(again).values()) == [expected[name]]
            _settle(engine)
        assert engine.deviations() == []
        assert engine.external_tokens(f"{n}-again" for n in prompts) > 0
        assert engine.computed_tokens - before < before / 2


def test_an_engine_outlives_its_daemon(
    daemon: Daemon, models: Path, references: References
) -> None:
    expected = references.tokens(PROMPTS)
    with _engine(daemon, models, tier={"job_timeout_s": 1.0}) as engine:
        assert engine.generate(PROMPTS) == expected
        for round_number in range(2):
            daemon.kill()
            engine.forget(connector=True)
            again = {f"{n}-{round_number}": p for n, p in PROMPTS.items()}
            tokens = engine.generate(again)
            assert list(tokens.values()) == list(expected.values())
            daemon.start()
            until(lambda: not _tier_of(engine)._link.clearing, "the clear")
        _settle(engine)
        assert engine.deviations() == []


def test_new_weights_find_nothing_of_the_old(
    daemon: Daemon, models: Path, references: References
) -> None:
    with _engine(daemon, models) as engine:
        assert engine.generate(PROMPTS) == references.tokens(PROMPTS)
        _settle(engine)
        engine.forget(connector=True)
        for worker in engine.workers:
            worker.set_weights(2)
        again = {f"{name}-2": prompt for name, prompt in PROMPTS.items()}
        assert engine.generate(again) == {
            f"{name}-2": tokens
            for name, tokens in references.tokens(PROMPTS, weights=2).items()
        }
        _settle(engine)
        assert engine.deviations() == []
