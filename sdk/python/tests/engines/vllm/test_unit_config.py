"""The keys of kv_connector_extra_config."""

from dataclasses import fields
from typing import Any

import pytest
from kvferry.vllm.config import ConnectorConfig


def test_defaults_and_other_connectors_keys() -> None:
    config = ConnectorConfig.parse({"cpu_bytes_to_use": 5, "kvferry": 1})

    assert config == ConnectorConfig()
    assert config.load == "async"


def test_every_key_is_taken() -> None:
    given = {
        "kvferry.socket_path": "/s",
        "kvferry.namespace": "n",
        "kvferry.revision": "r",
        "kvferry.slice_count": 4,
        "kvferry.load": "sync",
        "kvferry.save": False,
        "kvferry.min_tokens": 64,
        "kvferry.wait_in_flight_ms": 3,
        "kvferry.remote_prefill_wait_ms": 4.5,
        "kvferry.attach_timeout_ms": 100,
        "kvferry.commit_timeout_ms": 200,
        "kvferry.stall_timeout_ms": 300,
        "kvferry.ticket_ttl_ms": 400,
        "kvferry.load_threads": 3,
        "kvferry.save_backlog": 0.5,
        "kvferry.device": "emulated:0",
    }
    assert len(given) == len(fields(ConnectorConfig))

    config = ConnectorConfig.parse(given)

    for key, value in given.items():
        assert getattr(config, key.removeprefix("kvferry.")) == value
    assert config.seconds("commit_timeout_ms") == pytest.approx(0.2)


@pytest.mark.parametrize(
    "device, tensors_on, index, expected",
    [
        ("auto", "cuda", 3, "3"),
        ("auto", "cuda", None, "0"),
        ("auto", "cpu", None, None),
        ("none", "cuda", 3, None),
        ("emulated:0", "cpu", None, "emulated:0"),
    ],
)
def test_the_device(
    device: str, tensors_on: str, index: int | None, expected: str | None
) -> None:
    config = ConnectorConfig.parse({"kvferry.device": device})

    assert config.device_of(tensors_on, index) == expected


def test_an_unknown_key_names_the_known_ones() -> None:
    with pytest.raises(ValueError) as raised:
        ConnectorConfig.parse({"kvferry.sockets": "/s"})

    assert '"kvferry.sockets"' in str(raised.value)
    for field in fields(ConnectorConfig):
        assert f"kvferry.{field.name}" in str(raised.value)


@pytest.mark.parametrize(
    "key, value",
    [
        ("load", "later"),
        ("load", None),
        ("save", 1),
        ("socket_path", 7),
        ("slice_count", 0),
        ("slice_count", 65),
        ("slice_count", True),
        ("slice_count", "2"),
        ("min_tokens", -1),
        ("min_tokens", 1.5),
        ("wait_in_flight_ms", -1),
        ("commit_timeout_ms", 0),
        ("stall_timeout_ms", 99),
        ("stall_timeout_ms", 600_001),
        ("load_threads", 0),
        ("device", 0),
        ("save_backlog", 1.1),
        ("save_backlog", float("nan")),
    ],
)
def test_a_bad_value_is_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError) as raised:
        ConnectorConfig.parse({f"kvferry.{key}": value})

    assert f"kvferry.{key}" in str(raised.value)
    assert str(value) in str(raised.value)
