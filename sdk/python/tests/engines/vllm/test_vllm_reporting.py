"""What the engine tells the outside: KV events, counters."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from harness.engine import Engine
from harness.models import HYBRID, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site


def counted(engine: Engine) -> dict[str, float]:
    """The connector's counters, summed over the engine's steps."""
    sums: dict[str, float] = {}
    for stats in engine.stats:
        if stats.kv_connector_stats is None:
            continue
        data = stats.kv_connector_stats
        for name, amount in getattr(data, "data", data).items():
            sums[name] = sums.get(name, 0) + amount
    return sums


@pytest.mark.parametrize("shape", [LLAMA, HYBRID], ids=lambda s: s.name)
@pytest.mark.parametrize("tp_size", [1, 2])
def test_counters(site: Site, shape: ModelShape, tp_size: int) -> None:
    text = family(140, 80, (10, 60))
    engine = site.engine(shape=shape, tp_size=tp_size)
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    again = {f"{name}-2": tokens for name, tokens in text.items()}
    engine.generate(again)
    site.settle(engine)
    sums = counted(engine)

    # 90 and 140 tokens with 80 in common: 5 and 8 blocks hit.
    assert sums["hit_prompts"] == 2
    assert sums["hit_tokens"] == 80 + 128
    assert sums["matches"] >= 2
    assert sums["loaded_blocks"] > 0
    assert sums["saved_blocks"] > 0
    assert sums["saved_bytes"] > 0
    assert sums.get("failed_loads", 0) == 0
    assert sums.get("faults", 0) == 0
    if shape is LLAMA:
        # 5 common and 3 more; what four generated tokens fill is counted
        # when it fills a block: not here.
        assert sums["loaded_blocks"] == (5 + 8) * tp_size
        assert sums["saved_blocks"] == 8 * tp_size


def test_external_hits_in_vllms_own_counters(site: Site) -> None:
    text = {"a": prompt(141, 100)}
    engine = site.engine()
    engine.generate(text)
    site.settle(engine)
    engine.forget()
    engine.stats.clear()

    engine.generate({"b": text["a"]})

    caches = [
        stats.connector_prefix_cache_stats
        for stats in engine.stats
        if stats.connector_prefix_cache_stats is not None
    ]
    assert sum(stats.hits for stats in caches) == 96
    assert sum(stats.queries for stats in caches) == 100


def test_events(site: Site) -> None:
    """One BlockStored a block of the daemon, with what a router needs."""
    text = {"a": prompt(142, 100)}
    engine = site.engine(events=True)
    engine.generate(text)
    site.settle(engine)
    engine.generate({"later": prompt(143, 20)})
    site.settle(engine)

    ours = [e for e in engine.events if getattr(e, "medium", None) != "GPU"]
    stored: list[Any] = [e for e in ours if type(e).__name__ == "BlockStored"]
    tokens = [t for event in stored for t in event.token_ids]
    assert text["a"][:96] == tokens[:96]
    hashes = [h for event in stored for h in event.block_hashes]
    gpu = [
        h
        for event in engine.events
        if type(event).__name__ == "BlockStored" and event.medium == "GPU"
        for h in event.block_hashes
    ]
    # The engine's own hashes: a router finds both tiers under one name.
    assert set(hashes) <= set(gpu)
    assert stored[0].parent_block_hash is None
    assert all(event.block_size == 16 for event in stored)


def test_prometheus(site: Site) -> None:
    """vLLM's own registration of a connector's counters."""
    from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
        KVConnectorProm,
    )

    engine = site.engine()
    text = {"a": prompt(144, 100)}
    engine.generate(text)
    site.settle(engine)
    registry = CollectorRegistry()

    class Here(KVConnectorProm):
        """In a registry of the test's own."""

        _counter_cls = staticmethod(  # type: ignore[assignment]
            lambda **named: Counter(registry=registry, **named)
        )
        _gauge_cls = staticmethod(  # type: ignore[assignment]
            lambda **named: Gauge(registry=registry, **named)
        )
        _histogram_cls = staticmethod(  # type: ignore[assignment]
            lambda **named: Histogram(registry=registry, **named)
        )

    prometheus = Here(engine.config, ["engine"], {0: ["0"]})
    for stats in engine.stats:
        if stats.kv_connector_stats is not None:
            data = stats.kv_connector_stats
            prometheus.observe(getattr(data, "data", data), 0)

    value = registry.get_sample_value(
        "vllm:kvferry_saved_blocks_total", {"engine": "0"}
    )
    assert value == 6
