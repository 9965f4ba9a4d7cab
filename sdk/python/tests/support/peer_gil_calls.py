"""Every call of the package that could hold the GIL for long, with the largest
arguments there are."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import kvferry
import numpy as np

from support.peer_wait import eventually
from support.rank_memory import EngineMemory

KEYS_MAX = 16384
_SMALL_BYTES = 4096
_LARGE_BLOCKS = 16  # of 4 MiB
_WAIT_S = 0.005

# A daemon's, for the two namespaces.
POOL = "640 MiB"
CONFIG = '[template]\nquota = "288 MiB"\n'


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Call:
    name: str
    run: Callable[[], object]
    # Before each time, and after; not measured.
    prepare: Callable[[], object] = _nothing
    tidy: Callable[[], object] = _nothing


class GilCalls:
    """Clients of two namespaces, one with the smallest blocks and one with
    large ones, and the calls."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._numbers = itertools.count(1)
        self._small_group = kvferry.GroupSpec(
            kv_count=1, head_bytes=_SMALL_BYTES // 16
        )
        # 32 layers of 8 heads of 128 two-byte numbers, K and V, 32 tokens.
        self._large_group = kvferry.GroupSpec(
            layer_count=32, head_count=8, head_bytes=256, block_tokens=32
        )
        self.small = self._attach("small", self._small_group)
        self.large = self._attach("large", self._large_group)
        self._large_bytes = self._large_group.block_bytes
        self._block = bytes(_SMALL_BYTES)
        self._tokens = np.arange(16 * KEYS_MAX, dtype=np.uint32)
        self._tokens64 = self._tokens.astype(np.int64)
        self._digests = np.random.default_rng(1).bytes(32 * KEYS_MAX)
        self._hasher = self.small.hasher()
        self._engine = EngineMemory(
            self._large_group, 0, 1, _LARGE_BLOCKS, "NHD"
        )
        self._engine.wipe()
        self._engine_blocks = np.arange(_LARGE_BLOCKS, dtype=np.int64)
        self._page = np.ones(self._large_bytes, dtype=np.uint8)
        self._keys = self._hasher.hash_blocks(self._tokens)
        assert self._publish_small(self._keys) == KEYS_MAX
        self._large_keys = self._new_large_keys()
        self._publish_large(self._large_keys)
        # Else what is published later would take their place.
        self._held = [
            self.small.match(self._keys),
            self.large.match(self._large_keys),
        ]

    def close(self) -> None:
        for prefix in self._held:
            prefix.release()
        self.small.close()
        self.large.close()

    def calls(self) -> Iterator[Call]:
        yield from self._matches()
        yield from self._keys_and_digests()
        yield from self._publishing()
        yield from self._copies()
        yield from self._streams()
        yield from self._tickets()
        yield from self._daemon()

    # --- by what they do -----------------------------------------------------

    def _matches(self) -> Iterator[Call]:
        client, keys = self.small, self._keys
        prefix = client.match(keys)
        unaligned = memoryview(b"-" + keys)[1:]

        def pin() -> None:
            client.match(keys, into=prefix)
            assert prefix.block_count() == KEYS_MAX

        yield Call("match", pin)
        yield Call("match, unaligned", lambda: client.match(unaligned))
        yield Call(
            "match_groups",
            lambda: client.match_groups([(0, keys)], into=prefix),
        )
        yield Call("Prefix.check", prefix.check)
        yield Call("Prefix.release", prefix.release, prepare=pin)
        held: list[kvferry.Prefix] = []
        yield Call(
            "Prefix, destroyed",
            held.clear,
            prepare=lambda: held.append(client.match(keys)),
        )
        yield Call("lookup", lambda: client.lookup(keys))
        yield Call("lookup_groups", lambda: client.lookup_groups([(0, keys)]))
        prefix.release()

    def _keys_and_digests(self) -> Iterator[Call]:
        hasher, client, digests = self._hasher, self.small, self._digests
        yield Call("hash_blocks", lambda: hasher.hash_blocks(self._tokens))
        yield Call(
            "hash_blocks, int64", lambda: hasher.hash_blocks(self._tokens64)
        )
        yield Call(
            "keys_from_digests", lambda: client.keys_from_digests(digests, 32)
        )
        yield Call(
            "keys_from_digests, hashed",
            lambda: client.keys_from_digests(digests, 32, cryptographic=False),
        )

    def _publishing(self) -> Iterator[Call]:
        client = self.small
        keys = b""
        publication: kvferry.Publication | None = None

        def new_keys() -> None:
            nonlocal keys
            keys = self._hasher.hash_blocks(self._tokens, extra=self._new())

        def opened() -> None:
            nonlocal publication
            publication = client.open_publication()

        def begun() -> None:
            new_keys()
            opened()
            publication.begin(keys)

        def committed() -> None:
            begun()
            publication.commit_and_wait(0, KEYS_MAX)

        def end() -> None:
            nonlocal publication
            publication.abort()
            publication.close()
            publication = None

        yield Call(
            "publish, 16384 x 4 KiB",
            lambda: self._publish_small(keys),
            prepare=new_keys,
        )
        large = b""

        def new_large() -> None:
            nonlocal large
            large = self._new_large_keys()

        yield Call(
            "publish, 16 x 4 MiB",
            lambda: self.large.publish(large, [self._page] * _LARGE_BLOCKS),
            prepare=new_large,
        )
        yield Call("open_publication", opened, tidy=end)
        yield Call(
            "begin",
            lambda: publication.begin(keys),
            prepare=lambda: (new_keys(), opened()),
            tidy=end,
        )
        yield Call(
            "outcomes",
            lambda: publication.outcomes(0, KEYS_MAX),
            prepare=begun,
            tidy=end,
        )
        yield Call(
            "commit_layers",
            lambda: publication.commit_layers(0, KEYS_MAX, 1),
            prepare=begun,
            tidy=end,
        )
        yield Call(
            "commit",
            lambda: publication.commit(0, KEYS_MAX),
            prepare=begun,
            tidy=end,
        )
        yield Call(
            "commit_and_wait",
            lambda: publication.commit_and_wait(0, KEYS_MAX),
            prepare=begun,
            tidy=end,
        )
        yield Call(
            "abort", lambda: publication.abort(), prepare=begun, tidy=end
        )
        yield Call(
            "Publication.close",
            lambda: publication.close(),
            prepare=committed,
            tidy=end,
        )

        def destroy() -> None:
            nonlocal publication
            publication = None

        yield Call("Publication, destroyed", destroy, prepare=begun)

    def _copies(self) -> Iterator[Call]:
        paged, blocks = self._engine.paged, self._engine_blocks
        publication: kvferry.Publication | None = None

        def begun() -> None:
            nonlocal publication
            publication = self.large.open_publication()
            publication.begin(self._new_large_keys())

        def end() -> None:
            publication.abort()
            publication.close()

        yield Call(
            "fill, 64 MiB",
            lambda: publication.fill(0, paged, blocks),
            prepare=begun,
            tidy=end,
        )
        prefix = self.large.match(self._large_keys)
        assert prefix.block_count() == _LARGE_BLOCKS
        yield Call("copy_to, 64 MiB", lambda: prefix.copy_to(paged, blocks))
        yield Call("gather, 4 MiB", lambda: paged.gather(0, 0, self._page))
        yield Call("scatter, 4 MiB", lambda: paged.scatter(0, 0, self._page))
        prefix.release()

    def _streams(self) -> Iterator[Call]:
        # Its keys are begun, and nothing is written.
        waiting_keys = self._new_large_keys()
        publication = self.large.open_publication()
        publication.begin(waiting_keys)
        assert eventually(
            lambda: self.large.lookup(waiting_keys).answer == "ask_again"
        )
        waiting = self.large.stream(waiting_keys)

        def expect_timeout(wait: Callable[[], object]) -> Callable[[], None]:
            def run() -> None:
                with contextlib.suppress(kvferry.errors.DeadlineExceeded):
                    wait()
                    raise AssertionError("nothing was to come")

            return run

        for name, wait in (
            ("wait_chunk", lambda: waiting.wait_chunk(1, _WAIT_S)),
            ("wait_layer", lambda: waiting.wait_layer(1, 1, _WAIT_S)),
            ("wait_committed", lambda: waiting.wait_committed(_WAIT_S)),
            ("wait_change", lambda: waiting.wait_change(_WAIT_S)),
        ):
            yield Call(name, expect_timeout(wait))
        yield Call("event_fd", waiting.event_fd)
        waiting.release()
        publication.close()

        stream: kvferry.Stream | None = None

        def follow() -> None:
            nonlocal stream
            stream = self.small.stream(self._keys)
            assert stream.ok_blocks == KEYS_MAX

        def follow_large() -> None:
            nonlocal stream
            stream = self.large.stream(self._large_keys)

        def end() -> None:
            nonlocal stream
            stream = None

        yield Call("stream", follow, tidy=end)
        yield Call("poll", lambda: stream.poll(), prepare=follow, tidy=end)
        yield Call(
            "confirm",
            lambda: stream.confirm(KEYS_MAX),
            prepare=follow,
            tidy=end,
        )
        yield Call(
            "Stream.release",
            lambda: stream.release(),
            prepare=follow,
            tidy=end,
        )
        yield Call("Stream, destroyed", end, prepare=follow)
        yield Call(
            "pull_to, 64 MiB",
            lambda: stream.pull_to(
                self._engine.paged, self._engine_blocks, timeout=10.0
            ),
            prepare=follow_large,
            tidy=end,
        )

    def _tickets(self) -> Iterator[Call]:
        client, keys = self.small, self._keys
        text = ""

        def mint() -> None:
            nonlocal text
            text = client.mint_ticket(keys, hand_over=bytes(4096))

        def release() -> None:
            client.release_ticket(text)

        yield Call("mint_ticket", mint, tidy=release)
        yield Call(
            "redeem_ticket",
            lambda: client.redeem_ticket(text),
            prepare=mint,
            tidy=release,
        )
        yield Call("release_ticket", release, prepare=mint)

    def _daemon(self) -> Iterator[Call]:
        client: kvferry.Client | None = None

        def attach() -> None:
            nonlocal client
            client = self._attach("small", self._small_group)

        def close() -> None:
            client.close()

        yield Call("attach", attach, tidy=close)
        yield Call("Client.close", close, prepare=attach)
        yield Call("info", lambda: self.small.info)
        yield Call("groups", lambda: self.small.groups)
        with kvferry.Admin(self._socket_path) as admin:
            yield Call("Admin.status", admin.status)
            yield Call("Admin.namespaces", admin.namespaces)
            yield Call("Admin.sessions", admin.sessions)
            yield Call("Admin.blocks", lambda: admin.blocks("small"))
            yield Call("Admin.evict", lambda: admin.evict("large", "", 1))
        # The last one: nothing is left after it.
        yield Call("clear", lambda: self.small.clear())

    # --- what they need ------------------------------------------------------

    def _attach(self, name: str, group: kvferry.GroupSpec) -> kvferry.Client:
        return kvferry.Client(
            name,
            groups=[group],
            model=name,
            socket_path=self._socket_path,
        )

    def _new(self) -> bytes:
        return next(self._numbers).to_bytes(8, "little")

    def _new_large_keys(self) -> bytes:
        tokens = self._tokens[: 32 * _LARGE_BLOCKS]
        return self.large.hasher().hash_blocks(tokens, extra=self._new())

    def _publish_small(self, keys: bytes) -> int:
        return self.small.publish(
            keys, [self._block] * (len(keys) // 16), timeout=30.0
        )

    def _publish_large(self, keys: bytes) -> None:
        visible = self.large.publish(keys, [self._page] * _LARGE_BLOCKS)
        assert visible == _LARGE_BLOCKS
