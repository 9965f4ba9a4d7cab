"""Engines whose rows are not the same thing must not meet."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kvferry import Admin, GroupSpec, errors
from kvferry.vllm import secondary_tier_plugin
from kvferry.vllm.secondary_tier_metrics import LOOKUPS
from kvferry.vllm.secondary_tier_space import TierSpace, tier_space
from support.daemon import Daemon
from support.tier_engine import (
    ROW_BYTES,
    TierEngine,
    offload_key,
    offloading_config,
)
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


@pytest.fixture(autouse=True)
def _registered() -> None:
    secondary_tier_plugin.register()


def _space(
    row_bytes: int = ROW_BYTES,
    prefix: str = "tier",
    revision: str = "",
    **geometry: Any,
) -> TierSpace:
    config = offloading_config(
        {"type": "kvferry"}, row_bytes=row_bytes, **geometry
    )
    spec = TieringOffloadingSpec(config)
    return tier_space(spec, row_bytes, prefix=prefix, revision=revision)


DIFFERENCES: list[dict[str, Any]] = [
    {"model": "acme/other-model"},
    {"dtype": "float16"},
    {"dtype": "fp8_e4m3"},
    {"layout": "LBNHC"},
    {"row_bytes": 2 * ROW_BYTES},
    {"tokens_per_hash": 32},
    {"blocks_per_chunk": 2},
    {"tp_size": 2},
    {"group_ids": (0, 1)},
    {"group_ids": (1,)},
    {"layers": ("layers.0",)},
    {"layers": ("layers.1", "layers.0")},
    {"canonical_layout": True},
    {"revision": "v2"},
    {"prefix": "other"},
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=str)
def test_what_decides_the_bytes_is_in_the_name(
    difference: dict[str, Any],
) -> None:
    assert _space(**difference).name != _space().name
    if "prefix" not in difference:
        # And in the fingerprint, whatever the name.
        assert _space(**difference).revision != _space().revision


def test_the_same_number_of_workers_is_not_the_same_topology() -> None:
    """A row of two tensor-parallel workers, and one of two stages."""
    assert _space(tp_size=2).name != _space(pp_size=2).name


def test_the_engines_version_is_in_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _space()
    monkeypatch.setattr("vllm.__version__", "0.0.1")
    assert _space().name != before.name


def test_equal_engines_meet_whatever_else_they_are() -> None:
    assert _space() == _space()
    assert _space(rows=16).name == _space(rows=64).name
    events = _space(enable_kv_cache_events=True)
    assert events.name == _space().name


def test_canonical_pages_are_the_same_under_every_topology() -> None:
    canonical = {"canonical_layout": True, "is_parallelism_agnostic": True}
    assert (
        _space(tp_size=1, **canonical).name
        == _space(tp_size=2, **canonical).name
    )
    # Direct rows are worker after worker, whatever vLLM says of them.
    agnostic = {"is_parallelism_agnostic": True}
    assert (
        _space(tp_size=1, **agnostic).name
        != _space(tp_size=2, **agnostic).name
    )


def test_a_page_is_exactly_a_row() -> None:
    group = _space().group
    assert group.page_bytes == group.block_bytes == ROW_BYTES
    assert group.kv_count == group.slice_count == 1


def test_a_long_model_name_is_shortened_and_still_tells() -> None:
    one, other = _space(model="/a" + "x" * 300), _space(model="/b" + "x" * 300)
    assert len(one.model.encode()) <= 256
    assert one.model == other.model
    assert one.name != other.name


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"prefix": ""}, "namespace ''"),
        ({"prefix": "x" * 97}, "1 to 95 bytes"),
        ({"revision": "r" * 129}, "129 bytes"),
        ({"row_bytes": 1 << 29}, "536870912 bytes"),
    ],
)
def test_what_is_too_long_is_named(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        _space(**wrong)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"threads": 0}, "threads is 0, must be 1 to 64"),
        ({"job_timeout_s": 0}, "job_timeout_s is 0"),
        ({"store_queue_blocks": 0}, "store_queue_blocks is 0"),
        ({"pins_max": 0}, "pins_max is 0"),
        ({"in_flight_wait_s": -1}, "in_flight_wait_s is -1"),
    ],
)
def test_a_wrong_option_fails_the_launch(
    option: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        TierEngine({"type": "kvferry"} | option)


def test_an_unknown_option_fails_the_launch() -> None:
    with pytest.raises(TypeError, match="sockets"):
        TierEngine({"type": "kvferry", "sockets": "x"})


@pytest.mark.parametrize(
    "difference",
    [{"dtype": "float16"}, {"tp_size": 2}, {"row_bytes": 2 * ROW_BYTES}],
    ids=str,
)
def test_engines_with_different_geometry_do_not_meet(
    daemon_directory: Path, difference: dict[str, Any]
) -> None:
    keys = [offload_key(number) for number in range(4)]
    with ExitStack() as stack:
        daemon = stack.enter_context(
            Daemon(
                daemon_directory,
                extra_config='[template]\nquota = "64 MiB"\n',
            )
        )
        tier = {"type": "kvferry", "socket_path": daemon.socket_path}
        one = stack.enter_context(TierEngine(tier))
        other = stack.enter_context(TierEngine(tier, **difference))
        one.store("first", keys)
        assert other.hits("second", keys) == 0
        assert other.counted(LOOKUPS, "miss") >= 1
        # And each stores its own under the same digests.
        other.store("second", keys)
        one.forget()
        other.forget()
        one.check("third", keys)
        other.check("third", keys)


def test_a_pool_without_room_for_the_namespace_is_no_error(
    daemon: Daemon,
) -> None:
    """The first engine's namespace has the whole pool; the second runs."""
    tier = {"type": "kvferry", "socket_path": daemon.socket_path}
    keys = [offload_key(number) for number in range(4)]
    with TierEngine(tier) as one, TierEngine(tier, dtype="float16") as other:
        other.store("first", keys)
        other.forget()
        assert other.hits("second", keys) == 0
        assert other.counted(LOOKUPS, "away") >= 1
        one.store("first", keys)


def test_a_namespace_of_another_shape_fails_the_launch(daemon: Daemon) -> None:
    """Somebody made a namespace of that name for something else."""
    name = _space(prefix="vllm-tier").name
    wrong = GroupSpec("offload", block_tokens=1, kv_count=1, head_bytes=4096)
    with Admin(daemon.socket_path) as admin:
        admin.create_namespace(name, groups=[wrong], quota_bytes=16 << 20)
    tier = {"type": "kvferry", "socket_path": daemon.socket_path}
    with pytest.raises(errors.FailedPrecondition, match=name):
        TierEngine(tier)
