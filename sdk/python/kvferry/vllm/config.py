"""The keys of kv_connector_extra_config that are ours."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PREFIX = "kvferry."

# From times in the keys to those of the SDK.
_SECONDS_PER_MS = 1e-3


@dataclass(frozen=True)
class ConnectorConfig:
    """One field a key; README.md says what each does. Times are milliseconds,
    as they stand in the key's name."""

    socket_path: str | None = None
    namespace: str | None = None
    revision: str | None = None
    slice_count: int | None = None
    load: str = "async"
    save: bool = True
    min_tokens: int = 0
    wait_in_flight_ms: float = 0.0
    remote_prefill_wait_ms: float = 5_000.0
    attach_timeout_ms: float = 5_000.0
    commit_timeout_ms: float = 5_000.0
    stall_timeout_ms: float = 30_000.0
    ticket_ttl_ms: float = 60_000.0
    load_threads: int = 2
    save_backlog: float = 0.25
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.load not in ("async", "sync"):
            raise ValueError(
                f'{PREFIX}load: "{self.load}", not "async" or "sync"'
            )
        for name, low, high in (
            ("slice_count", 1, 64),
            ("min_tokens", 0, 1 << 31),
            ("wait_in_flight_ms", 0, 600_000),
            ("remote_prefill_wait_ms", 0, 600_000),
            ("attach_timeout_ms", 1, 600_000),
            ("commit_timeout_ms", 1, 600_000),
            ("stall_timeout_ms", 100, 600_000),
            ("ticket_ttl_ms", 1, 600_000),
            ("load_threads", 1, 64),
            ("save_backlog", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(
                    f"{PREFIX}{name}: {value}, need {low} to {high}"
                )

    @classmethod
    def parse(cls, extra: Mapping[str, Any]) -> "ConnectorConfig":
        """Keys of others are left alone; ours are checked."""
        known = {field.name: field.default for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in extra.items():
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX)
            if name not in known:
                raise ValueError(
                    f'kv_connector_extra_config: "{key}" is unknown, known '
                    "are " + ", ".join(PREFIX + each for each in known)
                )
            values[name] = _checked(key, value, known[name])
        return cls(**values)

    def device_of(self, tensors_on: str, index: int | None) -> str | None:
        """The Gpu's device for tensors of a torch device; None: no Gpu."""
        if self.device == "none":
            return None
        if self.device != "auto":
            return self.device
        return str(index or 0) if tensors_on == "cuda" else None

    def seconds(self, name: str) -> float:
        """A field that ends in _ms, for the SDK."""
        return float(getattr(self, name)) * _SECONDS_PER_MS


def _checked(key: str, value: Any, default: Any) -> Any:
    """`value` as the type that the field has."""
    if key == PREFIX + "slice_count":
        wanted: type = int
    elif default is None:
        wanted = str
    else:
        wanted = type(default)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise ValueError(
            f"{key}: {value!r} is {type(value).__name__}, need "
            f"{wanted.__name__}"
        )
    return value
