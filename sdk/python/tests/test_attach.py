"""Attaching, what a client knows, and what it refuses."""

import gc
import weakref

import kvferry
import pytest
from kvferry import errors
from support.blocks import random_blocks, small_group
from support.daemon import Daemon
from support.wait import wait_until


def attach(daemon: Daemon, name: str = "test", **options: object):
    options.setdefault("groups", [small_group()])
    return kvferry.Client(
        name, socket_path=daemon.socket_path, **options
    )  # type: ignore[arg-type]


def test_a_client_knows_its_namespace(daemon: Daemon) -> None:
    groups = [small_group(), small_group("window", rule="trailing",
                                         trailing_blocks=2)]
    client = attach(
        daemon, groups=groups, model="m", revision="r", dtype="bf16"
    )
    assert client.connected
    assert client.groups == groups
    info = client.info
    assert (info.name, info.model, info.revision, info.dtype) == (
        "test", "m", "r", "bf16",
    )  # fmt: skip
    assert len(info.salt) == 32
    assert info.session > 0
    assert info.epoch > 0
    assert info.quota_bytes == 256 << 20
    assert "'test', connected" in repr(client)
    assert "'test'" in repr(info)


def test_the_client_name_is_told_to_the_daemon(daemon: Daemon) -> None:
    with attach(daemon, client_name="engine 7"):
        (session,) = kvferry.Admin(daemon.socket_path).sessions()
    assert session["client_name"] == "engine 7"


def test_no_daemon_is_unavailable(daemon_directory: object) -> None:
    path = f"{daemon_directory}/nobody.sock"
    with pytest.raises(errors.Unavailable, match=path) as caught:
        kvferry.Client("test", groups=[small_group()], socket_path=path)
    assert caught.value.code == "UNAVAILABLE"
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 300}, "300 bytes, the limit is 128"),
        ({"name": "a\0b"}, "name: a NUL at 1"),
        ({"model": "a\0b"}, "model: a NUL at 1"),
        ({"groups": []}, "group count is 0"),
        ({"groups": [small_group(head_bytes=0)]}, "head_bytes is 0"),
        ({"groups": [small_group("a\0b")]}, "group name: a NUL at 1"),
        ({"timeout": float("nan")}, "timeout: nan"),
        ({"spin": -1.0}, "spin: -1"),
    ],
)
def test_wrong_options_are_refused(
    daemon: Daemon, options: dict[str, object], text: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=text):
        attach(daemon, **options)  # type: ignore[arg-type]


def test_wrong_types_are_refused(daemon: Daemon) -> None:
    with pytest.raises(TypeError):
        attach(daemon, groups=["full"])
    with pytest.raises(TypeError):
        kvferry.Client()  # type: ignore[call-arg]


def test_a_namespace_is_not_made_unless_wanted(daemon: Daemon) -> None:
    with pytest.raises(errors.NotFound, match='"test"'):
        attach(daemon, create=False)
    with pytest.raises(LookupError):
        attach(daemon, groups=[], accept_existing=True)
    with attach(daemon) as first:
        with attach(daemon, groups=[], accept_existing=True) as second:
            assert second.groups == first.groups
            assert second.info.salt == first.info.salt
        with attach(daemon, create=False) as third:
            assert third.connected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "fp16"}, "dtype is fp16 here, bf16 in the namespace"),
        ({"model": "other"}, "model is other here"),
        ({"groups": [small_group(head_bytes=64)]}, "page_bytes is 8192 here"),
    ],
)
def test_another_fingerprint_cannot_meet(
    daemon: Daemon, options: dict[str, object], text: str
) -> None:
    with attach(daemon, dtype="bf16", model="m"):
        values: dict[str, object] = {"dtype": "bf16", "model": "m"}
        with pytest.raises(errors.FailedPrecondition, match=text):
            attach(daemon, **{**values, **options})


def test_a_timeout_of_nothing_is_over_at_once(daemon: Daemon) -> None:
    with pytest.raises(errors.DeadlineExceeded) as caught:
        attach(daemon, timeout=0)
    assert isinstance(caught.value, TimeoutError)


def test_a_timeout_of_none_waits(daemon: Daemon) -> None:
    with attach(daemon, timeout=None, spin=0) as client:
        assert client.connected


def test_a_read_only_client_publishes_nothing(daemon: Daemon) -> None:
    with attach(daemon) as writer, attach(daemon, publish=False) as reader:
        block = random_blocks(1, writer.groups[0])
        assert writer.publish(b"k" * 16, block) == 1
        assert reader.match(b"k" * 16).tokens == 16
        for call in (
            lambda: reader.publish(b"j" * 16, block),
            lambda: reader.open_publication(),
            lambda: reader.clear(),
        ):
            with pytest.raises(errors.PermissionDenied) as caught:
                call()
            assert isinstance(caught.value, PermissionError)


def test_a_closed_client_refuses_calls(client: kvferry.Client) -> None:
    client.close()
    client.close()
    assert not client.connected
    assert "closed" in repr(client)
    assert client.groups == [small_group()]
    for call in (
        lambda: client.info,
        lambda: client.match(bytes(16)),
        lambda: client.lookup(bytes(16)),
        lambda: client.stream(bytes(16)),
        lambda: client.hasher(),
        lambda: client.publish(bytes(16), bytes(4096)),
        lambda: client.open_publication(),
        lambda: client.mint_ticket(bytes(16)),
        lambda: client.redeem_ticket("x"),
        lambda: client.release_ticket("x"),
        lambda: client.keys_from_digests(bytes(32), 32),
        lambda: client.clear(),
    ):
        with pytest.raises(errors.FailedPrecondition, match="closed"):
            call()


def session_count(daemon: Daemon) -> int:
    count: int = kvferry.Admin(daemon.socket_path).status()["session_count"]
    return count


def test_with_closes_it(daemon: Daemon) -> None:
    with attach(daemon) as client:
        assert session_count(daemon) == 1
    assert not client.connected
    wait_until(lambda: session_count(daemon) == 0, "the session's end")


def test_with_closes_it_when_an_exception_leaves(daemon: Daemon) -> None:
    with pytest.raises(ZeroDivisionError), attach(daemon) as client:
        raise ZeroDivisionError
    assert not client.connected


def test_it_closes_when_nobody_has_it(daemon: Daemon) -> None:
    client = attach(daemon)
    assert session_count(daemon) == 1
    del client
    gc.collect()
    wait_until(lambda: session_count(daemon) == 0, "the session's end")


# Goal    What was made from a client stays usable when that is closed; the
#         session ends with the last of it.
def test_a_prefix_outlives_its_client(daemon: Daemon) -> None:
    client = attach(daemon)
    blocks = random_blocks(2, client.groups[0])
    client.publish(b"a" * 16 + b"b" * 16, blocks)
    prefix = client.match(b"a" * 16 + b"b" * 16)
    client.close()
    assert bytes(prefix.page(1)) == bytes(blocks[1])
    prefix.check()
    assert session_count(daemon) == 1
    del prefix
    wait_until(lambda: session_count(daemon) == 0, "the session's end")


def test_clear_drops_every_block(client: kvferry.Client) -> None:
    client.publish(b"a" * 16, random_blocks(1, client.groups[0]))
    assert client.match(b"a" * 16)
    first = client.clear()
    assert not client.match(b"a" * 16)
    assert client.clear(timeout=1.0) == first + 1


def test_objects_are_not_kept_by_the_module(client: kvferry.Client) -> None:
    class Traced(kvferry.GroupSpec):
        pass

    spec = Traced(head_bytes=32)
    alive = weakref.ref(spec)
    del spec
    assert alive() is None
