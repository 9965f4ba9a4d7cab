"""Children of a process that has a client: they are told so, and attach
anew."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import kvferry
import numpy as np
import pytest
from support import peer_forker
from support.daemon import Daemon
from support.peer_process import Peer
from support.peer_wait import eventually
from support.rank_payload import block_bytes, is_page, split_keys

_GROUP = kvferry.GroupSpec(layer_count=3, head_count=2, head_bytes=64)
_ENDINGS = ["_exit", "sigkill", "return", "release", "raise"]


def _fork_in_a_program(daemon: Daemon, ending: str, *rest: str) -> None:
    program = peer_forker.__file__
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", program, daemon.socket_path,
         ending, *rest],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([here, *sys.path]),
            "KVFERRY_SOCKET": daemon.socket_path,
        },
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_forked_child_is_told_and_harms_nothing(
    daemon: Daemon, ending: str
) -> None:
    _fork_in_a_program(daemon, ending)


@pytest.mark.parametrize("ending", ["_exit", "return"])
def test_a_fork_may_come_while_other_threads_are_in_calls(
    daemon: Daemon, ending: str
) -> None:
    _fork_in_a_program(daemon, ending, "2")


def _client(socket_path: str, name: str) -> kvferry.Client:
    return kvferry.Client(
        "fork",
        groups=[_GROUP],
        model="fork",
        socket_path=socket_path,
        client_name=name,
    )


def _publish(client: kvferry.Client, keys: bytes) -> int:
    return client.publish(
        keys,
        [block_bytes(key, 1, _GROUP.page_bytes) for key in split_keys(keys)],
    )


def _work_in_child(
    state: SimpleNamespace, socket_path: str, keys: bytes, more: bytes
) -> tuple[int, bool, int]:
    """What a worker does that attaches by itself."""
    state.client = _client(socket_path, "child")
    state.prefix = state.client.match(keys)
    count = state.prefix.block_count()
    right = all(
        is_page(state.prefix.page(position), key, 0)
        for position, key in enumerate(split_keys(keys)[:count])
    )
    return count, right, _publish(state.client, more)


# Newer interpreters warn of a fork with threads, which is what this does.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("ending", ["close", "kill"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_of_each_start_method_attaches_by_itself(
    daemon: Daemon, method: str, ending: str
) -> None:
    with _client(daemon.socket_path, "parent") as client:
        hasher = client.hasher()
        keys = hasher.hash_blocks(np.arange(128, dtype=np.uint32))
        more = hasher.hash_blocks(np.arange(128, 256, dtype=np.uint32))
        assert _publish(client, keys) == 8
        prefix = client.match(keys)
        page = prefix.page(7)

        peer = Peer("child", method)
        answer = peer.ask(_work_in_child, daemon.socket_path, keys, more)
        assert answer == (8, True, 8)
        if ending == "kill":
            peer.kill()
        else:
            peer.close()

        with kvferry.Admin(daemon.socket_path) as admin:
            assert eventually(
                lambda: [s["client_name"] for s in admin.sessions()]
                == ["parent"]
            )
            admin.evict("fork")
            (session,) = admin.sessions()
            assert session["pinned_blocks"] == 8
        assert is_page(page, split_keys(keys)[7], 0)
        prefix.check()
        del page
        prefix.release()


def test_a_client_is_not_sent_to_another_process(daemon: Daemon) -> None:
    with _client(daemon.socket_path, "parent") as client:
        with pytest.raises(TypeError, match="Client"):
            pickle.dumps(client)
