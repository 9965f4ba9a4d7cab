"""The processes of one engine: ranks that write, ranks that read, and the
scheduler."""

import random
from types import TracebackType
from typing import Self

from support import rank_scheduler, rank_worker
from support.daemon import Daemon
from support.peer_process import Peer
from support.peer_wait import eventually
from support.rank_memory import ORDERS


class RankGroup:
    """`writers` processes write `slice_count` slices, in equal parts, and
    `readers` read them; they are the same ones when there are as many."""

    def __init__(
        self, daemon: Daemon, slice_count: int, writers: int, readers: int
    ) -> None:
        self._daemon = daemon
        self._slice_count = slice_count
        self._started = 0
        self.writers: list[Peer] = []
        self.readers: list[Peer] = []
        self.scheduler = Peer("scheduler")
        self.scheduler.tell(
            rank_scheduler.attach, daemon.socket_path, slice_count
        )
        for rank in range(writers):
            self.writers.append(self._start("writer", rank, writers))
        if readers == writers:
            self.readers = self.writers
        else:
            for rank in range(readers):
                self.readers.append(self._start("reader", rank, readers))
        for peer in self._all():
            peer.answer()

    def replace_writer(self, rank: int) -> None:
        """A new process in the place of one that was killed."""
        self.writers[rank] = self._start("writer", rank, len(self.writers))
        self.writers[rank].answer()

    def hits(self, keys: bytes) -> int:
        """Blocks that the scheduler finds now, and pins."""
        return self.scheduler.ask(rank_scheduler.pin, keys)

    def check_read(self, keys: bytes, blocks: int, seed: int) -> None:
        """Every reader finds at least what the scheduler has pinned, and right
        bytes in all its slices."""
        for read in ("read_pages", "read_into_engine"):
            for peer in self.readers:
                arguments = (keys,) if read == "read_pages" else (keys, seed)
                peer.tell(getattr(rank_worker, read), *arguments)
            for rank, peer in enumerate(self.readers):
                found, right = peer.answer()
                assert found >= blocks, f"reader {rank} misses what is pinned"
                assert right, f"reader {rank} has wrong bytes in {read}"

    def check_becomes(self, keys: bytes, blocks: int, seed: int) -> None:
        """The scheduler's hit grows to `blocks`; on the way every reader has
        all of what hits."""
        seen = 0

        def all_there() -> bool:
            nonlocal seen
            found = self.hits(keys)
            if found != seen:
                self.check_read(keys, found, seed)
                seen = found
            return found >= blocks

        assert eventually(all_there), f"{seen} of {blocks} blocks hit"
        assert seen == blocks

    def check_stays(self, keys: bytes, blocks: int) -> None:
        """Exactly `blocks` hit, for everybody who is alive."""
        assert self.hits(keys) == blocks
        for peer in self.readers:
            if peer.alive:
                assert peer.ask(rank_worker.read_pages, keys) == (blocks, True)

    def close(self) -> None:
        for peer in self._all():
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for peer in self._all():
            peer.__exit__(kind, error, trace)

    def _all(self) -> list[Peer]:
        readers = [] if self.readers is self.writers else self.readers
        return [self.scheduler, *self.writers, *readers]

    def _start(self, role: str, rank: int, ranks: int) -> Peer:
        share = self._slice_count // ranks
        name = f"{role} {rank}"
        peer = Peer(name)
        # Engines of one namespace need not have one memory layout.
        order = random.Random(f"{name} {self._started}").choice(sorted(ORDERS))
        self._started += 1
        peer.tell(
            rank_worker.attach,
            self._daemon.socket_path,
            self._slice_count,
            range(rank * share, (rank + 1) * share),
            name,
            order,
        )
        return peer
