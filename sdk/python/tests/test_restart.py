"""The daemon stops, is killed and comes back while clients run."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kvferry.errors import FailedPrecondition, Unavailable
from support import peer_restart
from support.daemon import Daemon
from support.peer_process import Peer
from support.peer_restart import Counts, Worker
from support.peer_wait import eventually, seeded
from support.rank_payload import is_page, split_keys

_ENDS = 20
_BUDGET_S = 40.0


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_client_matches_in_the_frozen_index_and_publishes_again_later(
    daemon: Daemon, ending: str
) -> None:
    with peer_restart.attach(daemon.socket_path, "me") as client:
        keys = peer_restart.prompt_keys(client, 1)
        blocks = peer_restart.PROMPT_BLOCKS
        assert peer_restart.publish(client, keys) == blocks
        before = client.match(keys)
        publication = client.open_publication()
        publication.begin(peer_restart.prompt_keys(client, 2))
        epoch = client.info.epoch

        getattr(daemon, ending)()
        assert eventually(lambda: not client.connected)

        for _ in range(3):
            with client.match(keys) as prefix:
                assert prefix.block_count() == blocks
                for position, key in enumerate(split_keys(keys)):
                    assert is_page(prefix.page(position, 1), key, 1)
                prefix.check()
        for call in (
            lambda: peer_restart.publish(client, keys),
            client.open_publication,
            lambda: client.mint_ticket(keys),
            client.clear,
        ):
            with pytest.raises(Unavailable):
                call()
        with pytest.raises(Unavailable):
            publication.commit_and_wait(0, 1)
        assert publication.page(0) is None

        daemon.start()
        assert eventually(lambda: client.connected)

        # Another life of the daemon, whose memory is empty.
        assert client.info.epoch != epoch
        assert not client.match(keys)
        # It makes its memory while clients are back already.
        assert eventually(
            lambda: peer_restart.publish(client, keys) == blocks
        )
        with client.match(keys) as prefix:
            assert prefix.block_count() == blocks
        # What was pinned before stays what it was.
        for position, key in enumerate(split_keys(keys)):
            assert is_page(before.page(position), key, 0)
        before.check()
        before.release()


def test_nothing_is_attached_again_by_a_client_that_was_closed(
    daemon: Daemon,
) -> None:
    client = peer_restart.attach(daemon.socket_path, "me")
    daemon.kill()
    client.close()
    daemon.start()
    assert not client.connected
    with pytest.raises(FailedPrecondition):
        client.match(bytes(range(16)))


class Clients:
    """This process with threads, and others with threads."""

    def __init__(self, socket_path: str) -> None:
        self._here = Worker(socket_path, "here", threads=2)
        self._peers = [Peer(f"peer {i}") for i in range(2)]
        for i, peer in enumerate(self._peers):
            peer.tell(peer_restart.start, socket_path, f"peer {i}", 2)
        for peer in self._peers:
            peer.answer()

    def connected(self) -> bool:
        return self._here.client.connected and all(
            peer.ask(peer_restart.connected) for peer in self._peers
        )

    def totals(self) -> list[Counts]:
        return [
            self._here.total(),
            *(peer.ask(peer_restart.total) for peer in self._peers),
        ]

    def wait_for_more(self, what: str, count: int) -> None:
        """Each gets `count` more of what Counts calls `what`, and no fault."""
        before = [getattr(counts, what) for counts in self.totals()]

        def come() -> bool:
            now = self.totals()
            for counts in now:
                assert not counts.wrong, counts.wrong
            return all(
                getattr(counts, what) >= then + count
                for counts, then in zip(now, before, strict=True)
            )

        assert eventually(come), f"no {count} more {what} since {before}"

    def stop(self) -> list[Counts]:
        self._here.stop()
        totals = [
            self._here.total(),
            *(peer.ask(peer_restart.stop) for peer in self._peers),
        ]
        for peer in self._peers:
            peer.close()
        return totals


def _end(daemon: Daemon, numbers: random.Random) -> Callable[[], int]:
    return daemon.kill if numbers.random() < 0.75 else daemon.stop


def test_clients_live_through_twenty_ends_of_the_daemon(
    daemon_directory: Path,
) -> None:
    numbers = seeded(20)
    begin = time.monotonic()
    daemon = Daemon(daemon_directory, pool="32 MiB")
    daemon.start()
    clients = Clients(daemon.socket_path)

    for _ in range(_ENDS):
        clients.wait_for_more("published", numbers.randrange(1, 40))
        clients.wait_for_more("hits", numbers.randrange(1, 100))

        _end(daemon, numbers)()

        # What is there is found, what needs the daemon is refused.
        clients.wait_for_more("unavailable", 2)
        clients.wait_for_more("hits", numbers.randrange(1, 100))

        daemon.start()
        assert eventually(clients.connected)

    clients.wait_for_more("published", peer_restart.PROMPT_BLOCKS)
    totals = clients.stop()
    daemon.kill()
    print(totals)
    assert all(not counts.wrong for counts in totals)
    assert time.monotonic() - begin < _BUDGET_S
