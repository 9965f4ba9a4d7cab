"""The tier as vLLM finds and calls it: its name, its options, its calls."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier import KVFerryTier
from support.daemon import Daemon
from support.tier_engine import TierEngine, offload_key
from vllm.plugins import DEFAULT_PLUGINS_GROUP, load_plugins_by_group
from vllm.v1.kv_offload.base import Medium
from vllm.v1.kv_offload.tiering.base import SecondaryTierManager
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec
from vllm.v1.metrics.cache_hit_source import CacheHitSource


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


@pytest.fixture
def tier(daemon: Daemon) -> dict[str, Any]:
    return {"type": "kvferry", "socket_path": daemon.socket_path}


def test_the_short_name_is_this_tier() -> None:
    found = SecondaryTierFactory.get_tier_class({"type": "kvferry"})
    assert found is KVFerryTier
    assert secondary_tier_plugin.is_registered()


def test_registering_again_does_nothing() -> None:
    secondary_tier_plugin.register()
    secondary_tier_plugin.register()


def test_another_ones_name_is_not_taken_over(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = {"kvferry": lambda: SecondaryTierManager}
    monkeypatch.setattr(SecondaryTierFactory, "_registry", registry)
    with pytest.raises(ValueError, match="kvferry"):
        secondary_tier_plugin.register()


def test_vllms_plugins_register_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As an installed package's entry point, found by vLLM itself."""
    package = tmp_path / "kvferry_tier_test-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kvferry-tier-test\nVersion: 1.0\n"
    )
    (package / "entry_points.txt").write_text(
        "[vllm.general_plugins]\n"
        "kvferry_tier = kvferry.vllm.secondary_tier_plugin:register\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(SecondaryTierFactory, "_registry", {})
    plugins = load_plugins_by_group(DEFAULT_PLUGINS_GROUP)
    plugins["kvferry_tier"]()
    assert secondary_tier_plugin.is_registered()


def test_a_module_path_needs_no_registration(
    monkeypatch: pytest.MonkeyPatch, tier: dict[str, Any]
) -> None:
    monkeypatch.setattr(SecondaryTierFactory, "_registry", {})
    by_path = tier | {
        "type": "KVFerryTier",
        "module_path": "kvferry.vllm.secondary_tier",
    }
    keys = [offload_key(0), offload_key(1)]
    with TierEngine(by_path) as engine:
        engine.store("first", keys)
        engine.forget()
        engine.check("second", keys)


def test_every_call_of_the_base_has_its_parameters() -> None:
    """A vLLM whose interface has changed is told here, and not by a
    TypeError in a scheduler."""
    checked = 0
    for name, theirs in vars(SecondaryTierManager).items():
        ours = vars(KVFerryTier).get(name)
        if ours is None or name.startswith("__"):
            continue
        if isinstance(theirs, classmethod):
            assert isinstance(ours, classmethod), name
            theirs, ours = theirs.__func__, ours.__func__
        if not inspect.isfunction(theirs):
            continue
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        ), name
        checked += 1
    assert checked >= 13
    assert not KVFerryTier.__abstractmethods__
    theirs = inspect.signature(SecondaryTierManager.__init__).parameters
    ours = inspect.signature(KVFerryTier.__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(
        ours[name].kind is inspect.Parameter.KEYWORD_ONLY
        for name in list(ours)[len(theirs) :]
    )


def test_calls_that_a_reset_and_a_step_rely_on() -> None:
    """drain_jobs stands for a cache reset: nothing else in vLLM calls it.
    And a step's loads are submitted before its end is told."""
    from vllm.v1.kv_offload.tiering import manager

    source = inspect.getsource(manager)
    assert source.count(".drain_jobs()") == source.count(
        "tier.drain_jobs()\n"
    )
    assert "tier.drain_jobs()" in inspect.getsource(
        manager.TieringOffloadingManager.reset_cache
    )
    end = inspect.getsource(
        manager.TieringOffloadingManager.on_schedule_end
    )
    assert end.index("_flush_pending_promotions()") < end.index(
        "tier.on_schedule_end("
    )


def test_what_vllm_shows_of_it(tier: dict[str, Any]) -> None:
    assert KVFerryTier.medium is Medium.CPU
    assert KVFerryTier.cache_hit_source is CacheHitSource.HOST
    with TierEngine(tier) as engine:
        extra = dict(engine.config.extra_config)
        names = TieringOffloadingSpec.config_info_keys(extra)
        info = engine.manager.config_info()[1]
        assert set(info) <= set(names)
        assert str(info["kvferry_namespace"]).startswith("vllm-tier-")
        definitions = TieringOffloadingSpec.build_metric_definitions(extra)
        stats = engine.manager.get_stats()
        assert stats is not None
        assert set(stats.data["data"]) <= set(definitions)
