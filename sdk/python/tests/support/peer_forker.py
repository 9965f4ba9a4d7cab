"""A program that attaches, forks while it holds every kind of object, and looks
whether both sides fare as they should.

usage: peer_forker.py SOCKET ENDING [THREADS]

ENDING says how the child ends: "_exit", "sigkill", "return" (the interpreter
destroys what it has), "release" (all objects first), "raise". With THREADS
others match all the time, also at the moment of the fork. Prints what is wrong,
and exits with 0 when nothing is.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable

import kvferry
import numpy as np
from kvferry.errors import FailedPrecondition

from support.peer_wait import eventually
from support.rank_memory import EngineMemory
from support.rank_payload import block_bytes, is_page, page_bytes, split_keys

_GROUP = kvferry.GroupSpec(layer_count=3, head_count=2, head_bytes=64)
_READY = 8
_WRITING = 4
_TIMEOUT_S = 30.0


def _attach(socket_path: str, name: str) -> kvferry.Client:
    return kvferry.Client(
        "fork",
        groups=[_GROUP],
        model="fork",
        socket_path=socket_path,
        client_name=name,
    )


def _tokens(first: int, blocks: int) -> np.ndarray:
    return np.arange(first, first + 16 * blocks, dtype=np.uint32)


class Holder:
    """One object of each kind, in use."""

    def __init__(self, socket_path: str) -> None:
        self.client = _attach(socket_path, "parent")
        self.memory = EngineMemory(_GROUP, 0, 1, 16, "NHD")
        hasher = self.client.hasher()
        self.ready = hasher.hash_blocks(_tokens(0, _READY))
        self.writing = hasher.hash_blocks(_tokens(1 << 20, _WRITING))
        _publish(self.client, self.ready)
        self.prefix = self.client.match(self.ready)
        assert self.prefix.block_count() == _READY
        self.other = self.client.match(self.ready)
        self.page = self.prefix.page(2)
        self.view = memoryview(self.prefix.page(3))
        self.array = np.frombuffer(self.prefix.page(4), dtype=np.uint8)
        self.ticket = self.client.mint_ticket(self.ready, consumers=2)
        self.publication = self.client.open_publication()
        self.publication.begin(self.writing)
        self.target = np.frombuffer(self.publication.page(0), dtype=np.uint8)
        # A stream follows what the daemon has taken in.
        coming = 16 * _WRITING
        assert eventually(
            lambda: self.client.lookup(self.writing).coming_tokens == coming
        )
        self.stream = self.client.stream(self.writing)

    def release(self) -> None:
        del self.page, self.view, self.array, self.target
        self.stream.release()
        self.prefix.release()
        self.other.release()
        self.publication.abort()
        self.client.close()

    def check_unharmed(self) -> None:
        """Pins hold, bytes are right, the publication goes on."""
        assert self.client.connected
        with kvferry.Admin(os.environ["KVFERRY_SOCKET"]) as admin:
            admin.evict("fork")
            (session,) = admin.sessions()
            pinned = session["pinned_blocks"]
            assert pinned >= _READY, f"only {pinned} blocks are pinned"
        keys = split_keys(self.ready)
        for position, page in ((2, self.page), (3, self.view), (4, self.array)):
            assert is_page(page, keys[position], 0), position
        self.prefix.check()
        for position, key in enumerate(split_keys(self.writing)):
            page = np.frombuffer(self.publication.page(position), np.uint8)
            page[:] = page_bytes(key, 0, page.size)
        self.publication.commit_and_wait(0, _WRITING)
        self.stream.wait_committed(_TIMEOUT_S)
        with self.client.match(self.writing) as found:
            assert found.block_count() == _WRITING
            for position, key in enumerate(split_keys(self.writing)):
                assert is_page(found.page(position), key, 0)
        assert self.client.redeem_ticket(self.ticket).keys == self.ready
        _publish(
            self.client,
            self.client.hasher().hash_blocks(_tokens(1 << 24, 2)),
        )

    def calls(self) -> dict[str, Callable[[], object]]:
        """Every call that uses what the daemon shares."""
        keys = self.ready
        blocks = np.arange(_READY, dtype=np.int64)
        paged = self.memory.paged
        client, prefix, stream = self.client, self.prefix, self.stream
        publication = self.publication
        data = [block_bytes(key, 1, _GROUP.page_bytes) for key in
                split_keys(keys)]  # fmt: skip
        return {
            "info": lambda: client.info,
            "hasher": client.hasher,
            "keys_from_digests": lambda: client.keys_from_digests(keys, 16),
            "match": lambda: client.match(keys),
            "match into": lambda: client.match(keys, into=self.other),
            "match_groups": lambda: client.match_groups([(0, keys)]),
            "lookup": lambda: client.lookup(keys),
            "lookup_groups": lambda: client.lookup_groups([(0, keys)]),
            "stream": lambda: client.stream(keys),
            "open_publication": client.open_publication,
            "publish": lambda: client.publish(keys, data),
            "mint_ticket": lambda: client.mint_ticket(keys),
            "redeem_ticket": lambda: client.redeem_ticket(self.ticket),
            "release_ticket": lambda: client.release_ticket(self.ticket),
            "clear": client.clear,
            "Prefix.page": lambda: prefix.page(0),
            "Prefix.check": prefix.check,
            "Prefix.copy_to": lambda: prefix.copy_to(paged, blocks),
            "Page": lambda: memoryview(self.page),
            "Page.__dlpack__": lambda: self.page.__dlpack__(copy=True),
            "begin": lambda: publication.begin(keys),
            "outcomes": lambda: publication.outcomes(0, 1),
            "Publication.page": lambda: publication.page(0),
            "fill": lambda: publication.fill(0, paged, blocks[:1]),
            "commit_layers": lambda: publication.commit_layers(0, 1, 1),
            "commit": lambda: publication.commit(0, 1),
            "commit_and_wait": lambda: publication.commit_and_wait(0, 1),
            "set_hand_over": lambda: publication.set_hand_over(b"token"),
            "Publication.close": publication.close,
            "Stream.check": stream.check,
            "Stream.page": lambda: stream.page(0),
            "wait_chunk": lambda: stream.wait_chunk(1, _TIMEOUT_S),
            "wait_layer": lambda: stream.wait_layer(1, 1, _TIMEOUT_S),
            "wait_committed": lambda: stream.wait_committed(_TIMEOUT_S),
            "wait_change": lambda: stream.wait_change(_TIMEOUT_S),
            "event_fd": stream.event_fd,
            "pull_to": lambda: stream.pull_to(
                paged, blocks[:_WRITING], timeout=_TIMEOUT_S
            ),
            "hand_over": stream.hand_over,
        }


def _publish(client: kvferry.Client, keys: bytes) -> None:
    blocks = [
        block_bytes(key, 1, _GROUP.page_bytes) for key in split_keys(keys)
    ]
    assert client.publish(keys, blocks) == len(blocks)


def _wrong_calls(holder: Holder) -> list[str]:
    """Calls that do anything else in the child than say that it is one."""
    wrong = []
    for name, call in holder.calls().items():
        try:
            call()
        except FailedPrecondition as error:
            if "fork" not in str(error):
                wrong.append(f"{name}: no word of the fork: {error}")
        # A wrong class of error is what this looks for.
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        else:
            wrong.append(f"{name}: no error")
    if holder.client.connected:
        wrong.append("connected is true")
    return wrong


def _attach_anew(socket_path: str, ready: bytes) -> kvferry.Client:
    client = _attach(socket_path, "child")
    with client.match(ready) as prefix:
        assert prefix.block_count() == _READY
        for position, key in enumerate(split_keys(ready)):
            assert is_page(prefix.page(position), key, 0), position
    _publish(client, client.hasher().hash_blocks(_tokens(1 << 28, 3)))
    return client


class Matching:
    """Threads that match without a pause, so that a fork comes at a bad
    moment."""

    def __init__(self, holder: Holder, count: int) -> None:
        self._stop = threading.Event()
        self._holder = holder
        self.rounds = [0] * count
        self._threads = [
            # Not waited for when the program fails.
            threading.Thread(target=self._run, args=(i,), daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, index: int) -> None:
        client, keys = self._holder.client, self._holder.ready
        while not self._stop.is_set():
            with client.match(keys) as prefix:
                assert prefix.block_count() == _READY
            _ = client.info
            self.rounds[index] += 1

    def wait_for_more(self) -> None:
        before = list(self.rounds)
        assert eventually(
            lambda: all(
                now > then + 10
                for now, then in zip(self.rounds, before, strict=True)
            )
        )

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
            assert not thread.is_alive()


def _child(holder: Holder, socket_path: str, pipe: int) -> kvferry.Client:
    """Tells what is wrong by the pipe; its new client lives until the end."""
    try:
        wrong = _wrong_calls(holder)
        client = _attach_anew(socket_path, holder.ready)
    # Whatever it is, the parent is to print it.
    except BaseException as error:
        os.write(pipe, f"{type(error).__name__}: {error}".encode())
        raise
    os.write(pipe, "\n".join(wrong).encode() or b"good")
    os.close(pipe)
    return client


def _wait(child: int) -> int:
    """The child's exit code, below 0 minus its signal."""
    status = 0

    def ended() -> bool:
        nonlocal status
        found, status = os.waitpid(child, os.WNOHANG)
        return found == child

    if not eventually(ended, _TIMEOUT_S):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise TimeoutError(f"the child has not ended in {_TIMEOUT_S} s")
    return os.waitstatus_to_exitcode(status)


def _sessions(socket_path: str) -> list[str]:
    with kvferry.Admin(socket_path) as admin:
        return sorted(s["client_name"] for s in admin.sessions())


def main(arguments: list[str]) -> int:
    socket_path, ending, *rest = arguments
    holder = Holder(socket_path)
    try:
        pickle.dumps(holder.client)
    except TypeError:
        pass
    else:
        raise AssertionError("a Client can be pickled")
    matching = Matching(holder, int(rest[0])) if rest else None

    for _ in range(10 if matching else 1):
        if matching:
            matching.wait_for_more()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            client = _child(holder, socket_path, writer)
            if ending == "_exit":
                os._exit(0)
            if ending == "sigkill":
                os.kill(os.getpid(), signal.SIGKILL)
            if ending == "raise":
                raise SystemExit(7)
            if ending == "release":
                holder.release()
                client.close()
            # What is left is destroyed as the interpreter ends.
            globals()["kept"] = (holder, client)
            return 0
        os.close(writer)
        code = _wait(child)
        with os.fdopen(reader, "r") as pipe:
            said = pipe.read()
        assert said == "good", f"the child: {said}"
        expected = {"sigkill": -signal.SIGKILL, "raise": 7}.get(ending, 0)
        assert code == expected, f"the child ended with {code}"

    if matching:
        matching.stop()
    assert eventually(lambda: _sessions(socket_path) == ["parent"]), _sessions(
        socket_path
    )
    holder.check_unharmed()
    holder.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
