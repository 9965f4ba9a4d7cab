"""Prompts that the ranks of one engine publish, and what goes wrong with them.
"""

import random
from dataclasses import dataclass

from support import rank_scheduler, rank_worker
from support.peer_process import Peer
from support.rank_group import RankGroup

# What the ranks join publications by, with their number.
INSTANCE = 0x5EED


@dataclass
class Prompt:
    """A prompt, and how many of its leading blocks are there already."""

    tokens: list[int]
    keys: bytes
    ready: int

    @property
    def blocks(self) -> int:
        return len(self.keys) // 16


class Rounds:
    """Prompts of one engine, one after the other, from one seed."""

    def __init__(self, group: RankGroup, random_numbers: random.Random) -> None:
        self._group = group
        self._random = random_numbers
        self._publications = 0
        self._fates: list[str] = []
        self._done: list[Prompt] = []

    def play(self) -> str:
        """One prompt, with or without a failure that is then repaired; which
        it was. Each has its turn before any has another."""
        if not self._fates:
            self._fates = ["all", "abort", "part", "kill"]
            if len(self._group.writers) > 1:
                self._fates.append("late")
            self._random.shuffle(self._fates)
        fate = self._fates.pop()
        prompt = self._next_prompt()
        rank = self._random.randrange(len(self._group.writers))
        getattr(self, f"_{fate}")(prompt, rank)
        self._done.append(prompt)
        return fate

    # Every rank commits, in any order and in parts, while everybody reads.
    def _all(self, prompt: Prompt, _: int) -> None:
        self._begin(prompt)
        self._write(prompt)
        cuts = [0, self._random.randint(0, prompt.blocks), prompt.blocks]
        for first, end in zip(cuts, cuts[1:], strict=False):
            for peer in self._shuffled():
                if end > first:
                    peer.tell(rank_worker.commit, first, end - first)
            for peer in self._group.writers:
                if end > first:
                    peer.answer()
            self._group.check_becomes(
                prompt.keys, max(end, prompt.ready), self._random.random()
            )
        self._leave()

    # One rank has written, and gives up; the others have committed.
    def _abort(self, prompt: Prompt, rank: int) -> None:
        self._begin(prompt)
        self._write(prompt)
        self._commit_but(prompt, rank)
        self._group.writers[rank].ask(rank_worker.abort)
        self._leave()
        self._group.check_stays(prompt.keys, prompt.ready)
        self._repair(prompt)

    # One rank commits fewer blocks than the others.
    def _part(self, prompt: Prompt, rank: int) -> None:
        self._begin(prompt)
        self._write(prompt)
        self._commit_but(prompt, rank)
        part = self._random.randint(0, prompt.blocks - 1)
        if part > 0:
            self._group.writers[rank].ask(rank_worker.commit_and_wait, 0, part)
        self._group.writers[rank].ask(rank_worker.abort)
        self._leave()
        self._group.check_stays(prompt.keys, max(part, prompt.ready))
        self._repair(prompt)

    # One rank is killed before it commits, while the others do.
    def _kill(self, prompt: Prompt, rank: int) -> None:
        self._begin(prompt)
        self._write(prompt)
        if self._random.random() < 0.5:
            self._commit_but(prompt, rank)
            self._group.writers[rank].kill()
        else:
            self._group.writers[rank].kill()
            self._commit_but(prompt, rank)
        self._group.check_stays(prompt.keys, prompt.ready)
        self._leave_but(rank)
        self._group.replace_writer(rank)
        self._group.check_stays(prompt.keys, prompt.ready)
        self._repair(prompt)

    # One rank joins when the others are done.
    def _late(self, prompt: Prompt, rank: int) -> None:
        late = self._group.writers[rank]
        publication = self._new_publication()
        others = [peer for peer in self._shuffled() if peer is not late]
        for peer in others:
            self._join(peer, publication, prompt)
            peer.ask(rank_worker.write_pages, prompt.blocks)
            peer.ask(rank_worker.commit_and_wait, 0, prompt.blocks)
        self._group.check_stays(prompt.keys, prompt.ready)
        self._join(late, publication, prompt)
        late.ask(rank_worker.write_pages, prompt.blocks)
        self._group.check_stays(prompt.keys, prompt.ready)
        late.ask(rank_worker.commit, 0, prompt.blocks)
        self._group.check_becomes(
            prompt.keys, prompt.blocks, self._random.random()
        )
        self._leave()

    def _repair(self, prompt: Prompt) -> None:
        prompt.ready = self._group.hits(prompt.keys)
        self._all(prompt, 0)

    def _next_prompt(self) -> Prompt:
        before = Prompt([], b"", 0)
        if self._done and self._random.random() < 0.4:
            before = self._random.choice(self._done)
        blocks = self._random.randint(1, 12)
        tokens = before.tokens[: 16 * 24] + [
            self._random.randrange(1 << 32) for _ in range(16 * blocks)
        ]
        keys = self._group.scheduler.ask(rank_scheduler.hash_tokens, tokens)
        prompt = Prompt(tokens, keys, 0)
        prompt.ready = self._group.hits(keys)
        assert prompt.ready == len(tokens) // 16 - blocks
        return prompt

    def _new_publication(self) -> int:
        self._publications += 1
        return self._publications

    def _join(self, peer: Peer, publication: int, prompt: Prompt) -> None:
        outcomes = peer.ask(
            rank_worker.begin, INSTANCE, publication, prompt.keys, None
        )
        assert outcomes[: prompt.ready] == ["exists"] * prompt.ready
        # A standby: the blocks of a rank that was killed are not given up yet.
        assert set(outcomes[prompt.ready :]) <= {"writing", "standby"}

    def _begin(self, prompt: Prompt) -> None:
        publication = self._new_publication()
        for peer in self._shuffled():
            self._join(peer, publication, prompt)

    def _write(self, prompt: Prompt) -> None:
        """Some ranks write in place, some out of the engine's memory."""
        for peer in self._group.writers:
            if self._random.random() < 0.5:
                peer.tell(rank_worker.write_pages, prompt.blocks)
            else:
                peer.tell(
                    rank_worker.write_from_engine,
                    prompt.blocks,
                    self._random.random(),
                )
        for peer in self._group.writers:
            assert peer.answer() == prompt.blocks - prompt.ready

    def _commit_but(self, prompt: Prompt, rank: int) -> None:
        for peer in self._shuffled():
            if peer is not self._group.writers[rank]:
                peer.ask(rank_worker.commit_and_wait, 0, prompt.blocks)

    def _leave(self) -> None:
        for peer in self._group.writers:
            peer.ask(rank_worker.leave)

    def _leave_but(self, rank: int) -> None:
        for other, peer in enumerate(self._group.writers):
            if other != rank:
                peer.ask(rank_worker.leave)

    def _shuffled(self) -> list[Peer]:
        peers = list(self._group.writers)
        self._random.shuffle(peers)
        return peers
