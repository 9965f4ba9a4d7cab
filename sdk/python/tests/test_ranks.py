"""Ranks of one engine: each writes and reads its slices of the same blocks."""

from collections import Counter

import kvferry
import pytest
from support import rank_scheduler, rank_worker
from support.daemon import Daemon
from support.peer_wait import eventually, seeded
from support.rank_group import RankGroup
from support.rank_rounds import INSTANCE, Rounds

_ROUNDS = 15

# Slices, processes that write, processes that read.
_SHAPES = [(1, 1, 1), (2, 2, 2), (4, 4, 4), (4, 4, 2), (4, 2, 4)]


def _nothing_is_left(socket_path: str) -> bool:
    """No block is being written, and none rests for a writer."""
    with kvferry.Admin(socket_path) as admin:
        (namespace,) = admin.namespaces()
        (group,) = namespace["groups"]
        return group["publishing"] == 0 and group["quarantined"] == 0


@pytest.mark.parametrize(("slices", "writers", "readers"), _SHAPES)
def test_a_slice_missing_in_one_is_a_miss_for_all(
    daemon: Daemon, slices: int, writers: int, readers: int
) -> None:
    numbers = seeded(100 * slices + 10 * writers + readers)
    fates: Counter[str] = Counter()

    with RankGroup(daemon, slices, writers, readers) as group:
        rounds = Rounds(group, numbers)
        for _ in range(_ROUNDS):
            fates[rounds.play()] += 1

        assert eventually(lambda: _nothing_is_left(daemon.socket_path))

    assert fates["kill"] >= 3
    assert fates["abort"] >= 3
    assert fates["late"] >= (3 if writers > 1 else 0)


def test_a_rank_that_never_joins_is_a_miss_until_the_others_are_given_up(
    daemon: Daemon,
) -> None:
    with RankGroup(daemon, 2, 2, 2) as group:
        keys = group.scheduler.ask(
            rank_scheduler.hash_tokens, list(range(16 * 8))
        )
        early, late = group.writers
        early.ask(rank_worker.begin, INSTANCE, 1, keys, None)
        early.ask(rank_worker.write_pages, 8)
        early.ask(rank_worker.commit_and_wait, 0, 8)
        early.ask(rank_worker.leave)
        group.check_stays(keys, 0)

        # A new publication by both stands by while the daemon still waits for
        # the rank that never came to the first.
        for peer in group.writers:
            outcomes = peer.ask(rank_worker.begin, INSTANCE, 2, keys, None)
            assert outcomes == ["standby"] * 8
            peer.ask(rank_worker.write_pages, 8)
        early.ask(rank_worker.commit_and_wait, 0, 8)
        group.check_stays(keys, 0)
        late.ask(rank_worker.commit_and_wait, 0, 8)

        # The daemon waits ten seconds for other ranks.
        assert eventually(lambda: group.hits(keys) == 8, timeout=40.0)
        group.check_read(keys, 8, seed=1)
        for peer in group.writers:
            peer.ask(rank_worker.leave)


def test_ranks_are_refused_slices_that_the_namespace_has_not(
    daemon: Daemon,
) -> None:
    with kvferry.Client(
        "ranks",
        groups=[rank_worker.group_spec(2)],
        socket_path=daemon.socket_path,
    ) as client:
        with pytest.raises(kvferry.errors.InvalidArgument, match="2"):
            client.open_publication(
                engine_instance=INSTANCE,
                publication=1,
                slice_first=2,
                slice_count=1,
            )
