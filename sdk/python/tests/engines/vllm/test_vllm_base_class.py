"""The base class of connectors, as this connector was written for: a version
of vLLM that changes it fails here, and not in an engine."""

import inspect
from pathlib import Path

import pytest
from vllm.distributed.kv_transfer.kv_connector.v1 import (
    KVConnectorBase_V1,
    SupportsHMA,
)

from kvferry.vllm import KVFerryConnector

RECORDED = Path(__file__).parent / "base_class_0_33_0.txt"


def described(owner: type) -> dict[str, str]:
    """Public members: a method's parameters, or that it is a property."""
    members: dict[str, str] = {}
    for name, value in vars(owner).items():
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(value, property):
            members[name] = "property"
        elif isinstance(value, classmethod | staticmethod):
            kind = type(value).__name__
            members[name] = f"{kind} {parameters(value.__func__)}"
        elif inspect.isfunction(value):
            members[name] = parameters(value)
    return members


def parameters(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return str(
        signature.replace(
            parameters=[
                parameter.replace(annotation=inspect.Parameter.empty)
                for parameter in signature.parameters.values()
            ],
            return_annotation=inspect.Signature.empty,
        )
    )


BASE = described(KVConnectorBase_V1) | described(SupportsHMA)


def test_the_base_class_is_the_recorded_one() -> None:
    """After a look at what changed, write the new record with the version it
    is of; the connector's README says which are supported."""
    lines = [f"{name} {text}\n" for name, text in sorted(BASE.items())]
    assert "".join(lines) == RECORDED.read_text()


@pytest.mark.parametrize("name", sorted(BASE))
def test_overrides_take_what_the_base_takes(name: str) -> None:
    base = inspect.getattr_static(
        KVConnectorBase_V1, name, None
    ) or inspect.getattr_static(SupportsHMA, name)
    own = inspect.getattr_static(KVFerryConnector, name)

    assert type(own) is type(base)
    if isinstance(base, property) or own is base:
        return
    if isinstance(base, classmethod):
        base, own = base.__func__, own.__func__
    wanted = list(inspect.signature(base).parameters.values())
    given = list(inspect.signature(own).parameters.values())
    # Callers of the base pass by position and by name: both must do.
    for one, other in zip(wanted, given, strict=False):
        if one.kind is one.VAR_KEYWORD or other.kind is other.VAR_KEYWORD:
            assert one.kind is other.kind
            break
        assert one.name == other.name
        assert one.kind is other.kind
        assert (one.default is one.empty) == (other.default is other.empty)
    extra = given[len(wanted) :]
    assert all(
        parameter.default is not parameter.empty
        or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        for parameter in extra
    )
    assert len(given) >= len(wanted)


def test_nothing_abstract_is_left() -> None:
    assert not inspect.isabstract(KVFerryConnector)
