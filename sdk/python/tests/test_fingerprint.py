"""Two engines whose blocks do not mean the same cannot meet."""

from pathlib import Path
from typing import Any

import kvferry
import pytest
from kvferry.errors import FailedPrecondition, NotFound
from support.daemon import Daemon
from support.rank_payload import block_bytes, split_keys

_GEOMETRY: dict[str, Any] = {
    "block_tokens": 16,
    "layer_count": 4,
    "kv_count": 2,
    "head_count": 8,
    "head_bytes": 256,
    "slice_count": 2,
}
_MODEL = {"model": "llama", "revision": "abc", "dtype": "bfloat16"}


def _attach(
    socket_path: str,
    geometry: dict[str, Any],
    model: dict[str, str],
    **more: Any,
) -> kvferry.Client:
    return kvferry.Client(
        "shared",
        groups=[kvferry.GroupSpec(**geometry)],
        socket_path=socket_path,
        **model,
        **more,
    )


# What the second engine has otherwise, and what the refusal says of it: where
# the page sizes differ those are named, they are what must fit.
_DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"dtype": "float16"}, "dtype is float16 here, bfloat16 in"),
    ({"revision": "abd"}, "revision is abd here, abc in"),
    ({"model": "llama2"}, "model is llama2 here, llama in"),
    ({"slice_count": 4}, "slice_count is 4 here, 2 in"),
    ({"head_count": 4}, "page_bytes is 131072 here, 262144 in"),
    ({"head_bytes": 128}, "page_bytes is 131072 here, 262144 in"),
    ({"layer_count": 5}, "page_bytes is 327680 here, 262144 in"),
    ({"kv_count": 1}, "page_bytes is 131072 here, 262144 in"),
    ({"block_tokens": 32}, "page_bytes is 524288 here, 262144 in"),
    # Pages of one size, of another meaning.
    (
        {"block_tokens": 32, "layer_count": 2},
        "block_tokens is 32 here, 16 in",
    ),
    ({"layer_count": 8, "kv_count": 1}, "layer_count is 8 here, 4 in"),
    ({"head_count": 4, "head_bytes": 512}, "head_count is 4 here, 8 in"),
    # The same heads, cut into other slices.
    ({"head_count": 16, "slice_count": 1}, "slice_count is 1 here, 2 in"),
]


@pytest.mark.parametrize(("other", "said"), _DIFFERENCES)
def test_another_fingerprint_is_refused_with_both_sides_named(
    daemon: Daemon, other: dict[str, Any], said: str
) -> None:
    geometry = {n: other.get(n, value) for n, value in _GEOMETRY.items()}
    model = {n: other.get(n, value) for n, value in _MODEL.items()}

    with _attach(daemon.socket_path, _GEOMETRY, _MODEL) as client:
        with pytest.raises(FailedPrecondition) as refused:
            _attach(daemon.socket_path, geometry, model)

        assert 'namespace "shared"' in str(refused.value)
        assert said in str(refused.value)
        # Who is in is not disturbed, and an equal one comes in.
        assert client.connected
        with _attach(daemon.socket_path, _GEOMETRY, _MODEL) as equal:
            assert equal.info.salt == client.info.salt
            assert equal.info.namespace_id == client.info.namespace_id


def test_another_group_list_is_refused(daemon: Daemon) -> None:
    groups = [
        kvferry.GroupSpec("full", head_bytes=256),
        kvferry.GroupSpec(
            "window", head_bytes=256, rule="trailing", trailing_blocks=8
        ),
    ]
    others = [
        groups[:1],
        groups[::-1],
        [groups[0], kvferry.GroupSpec("window", head_bytes=256)],
        [
            groups[0],
            kvferry.GroupSpec(
                "window", head_bytes=256, rule="trailing", trailing_blocks=9
            ),
        ],
    ]
    with kvferry.Client(
        "shared", groups=groups, socket_path=daemon.socket_path
    ):
        for other in others:
            with pytest.raises(FailedPrecondition, match="shared"):
                kvferry.Client(
                    "shared", groups=other, socket_path=daemon.socket_path
                )


def test_keys_of_another_fingerprint_find_nothing(
    daemon_directory: Path,
) -> None:
    tokens = memoryview(bytes(16 * 4 * 3)).cast("I")
    model = {**_MODEL, "dtype": "float16"}
    group = kvferry.GroupSpec(**_GEOMETRY)
    quota = '[template]\nquota = "64 MiB"\n'
    with (
        Daemon(daemon_directory, extra_config=quota) as daemon,
        _attach(daemon.socket_path, _GEOMETRY, _MODEL) as client,
        kvferry.Client(
            "other", groups=[group], socket_path=daemon.socket_path, **model
        ) as other,
    ):
        keys = client.hasher().hash_blocks(tokens)
        blocks = [
            block_bytes(key, group.slice_count, group.page_bytes)
            for key in split_keys(keys)
        ]
        assert client.publish(keys, blocks) == 3

        # The same prompt has other names there; and the names, taken over
        # nevertheless, name nothing.
        assert other.hasher().hash_blocks(tokens) != keys
        assert not other.match(keys)
        assert other.lookup(keys).answer == "nothing"


def test_an_engine_that_may_not_make_a_namespace_finds_none(
    daemon: Daemon,
) -> None:
    with pytest.raises(NotFound, match="shared"):
        _attach(daemon.socket_path, _GEOMETRY, _MODEL, create=False)
