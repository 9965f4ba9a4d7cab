"""What an operator asks."""

import kvferry
import pytest
from kvferry import errors
from support.blocks import random_blocks, small_group, split_keys, tokens
from support.daemon import Daemon

QUOTA = 16 << 20


def test_status(daemon: Daemon) -> None:
    with kvferry.Admin(daemon.socket_path) as admin:
        status = admin.status()
    assert status["version"] == kvferry.version()
    assert status["socket"] == daemon.socket_path
    assert status["pid"] > 0
    assert status["pool_bytes"] == 256 << 20
    assert 0 <= status["uptime"] < 60
    assert status["memory_locked"] is False
    assert (status["namespace_count"], status["session_count"]) == (0, 0)


def test_a_namespace_is_made_and_described(daemon: Daemon) -> None:
    groups = [small_group(), small_group("wide", block_tokens=64)]
    admin = kvferry.Admin(daemon.socket_path, timeout=None)
    admin.create_namespace(
        "made", groups=groups, model="m", dtype="bf16", quota_bytes=QUOTA
    )
    (described,) = admin.namespaces()
    assert described["name"] == "made"
    assert (described["model"], described["dtype"]) == ("m", "bf16")
    assert described["quota_bytes"] == QUOTA
    assert [group["spec"] for group in described["groups"]] == groups
    assert [group["name"] for group in described["groups"]] == ["full", "wide"]
    with pytest.raises(errors.AlreadyExists, match="made"):
        admin.create_namespace("made", groups=groups, quota_bytes=QUOTA)
    with kvferry.Client(
        "made", accept_existing=True, socket_path=daemon.socket_path
    ) as client:
        assert client.groups == groups
        assert client.info.quota_bytes == QUOTA


def test_sessions_and_blocks(daemon: Daemon, client: kvferry.Client) -> None:
    keys = client.hasher().hash_blocks(tokens(48))
    parts = split_keys(keys)
    client.publish(keys, random_blocks(3, client.groups[0]))
    admin = kvferry.Admin(daemon.socket_path)

    with client.match(keys[:32]):
        (session,) = admin.sessions()
        assert session["namespace_name"] == "test"
        assert session["session"] == client.info.session
        assert session["publish"] is True
        assert session["pinned_blocks"] == 2
        assert session["age"] >= 0
        blocks = {block["key"]: block for block in admin.blocks("test")}
    assert set(blocks) == set(parts)
    assert blocks[parts[1]]["parent"] == parts[0]
    assert blocks[parts[0]]["parent"] == bytes(16)
    assert blocks[parts[0]]["pins"] == 1
    assert {block["state"] for block in blocks.values()} == {"ready"}
    assert len(admin.blocks("test", limit=2)) == 2
    (found,) = admin.blocks("test", parts[2].hex())
    assert found["key"] == parts[2]


def test_evict_and_clear(daemon: Daemon, client: kvferry.Client) -> None:
    keys = client.hasher().hash_blocks(tokens(64))
    parts = split_keys(keys)
    client.publish(keys, random_blocks(4, client.groups[0]))
    admin = kvferry.Admin(daemon.socket_path)
    assert admin.evict("test", parts[3].hex()) == (1, 0)
    assert client.match(keys).tokens == 48
    with client.match(keys[:16]):
        evicted, pinned = admin.evict("test", limit=10)
        assert (evicted, pinned) == (2, 1)
    client.publish(keys, random_blocks(4, client.groups[0]))
    epoch, dropped = admin.clear("test")
    assert dropped == 4
    assert admin.clear("test") == (epoch + 1, 0)
    assert not client.match(keys)


def test_errors(daemon: Daemon) -> None:
    admin = kvferry.Admin(daemon.socket_path)
    for call in (
        lambda: admin.blocks("none"),
        lambda: admin.evict("none"),
        lambda: admin.clear("none"),
    ):
        with pytest.raises(errors.NotFound, match="none"):
            call()
    for call in (
        lambda: admin.blocks("a\0b"),
        lambda: admin.create_namespace(
            "n", groups=[small_group()], quota_bytes=-1
        ),
        lambda: admin.create_namespace(
            "n", groups=[small_group()], quota_bytes=1
        ),
        lambda: admin.create_namespace("n", groups=[], quota_bytes=QUOTA),
    ):
        with pytest.raises(errors.InvalidArgument):
            call()
    admin.close()
    admin.close()
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        admin.status()
    assert "Admin" in repr(admin)


def test_no_daemon_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match="nobody.sock"):
        kvferry.Admin("/dev/shm/nobody.sock")
