"""Publishing one sequence's blocks while an engine computes them."""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kvferry import OUTCOMES, Client, Hasher, Publication
from kvferry.errors import Error, InvalidArgument, Unavailable
from kvferry.transformers import copying
from kvferry.transformers.layers import Held, check, held
from kvferry.transformers.spec import LayerGroup

if TYPE_CHECKING:
    from transformers import DynamicCache

    from kvferry.transformers.cache import KVFerryCache

KEY_BYTES = 16

# Blocks of a group that are begun, filled and committed together: what a
# reader that follows sees at once, and well under what a session may have in
# flight.
_BLOCKS_PER_CHUNK = 256

# Positions that one publication has.
_POSITIONS_MAX = 65536

# What may become something else.
_UNANSWERED = ("writing", "standby")


def token_array(input_ids: Any) -> np.ndarray:
    """One sequence's tokens, contiguous int64; [tokens] or [1, tokens]."""
    if hasattr(input_ids, "detach"):
        input_ids = input_ids.detach().cpu().numpy()
    tokens = np.ascontiguousarray(input_ids, dtype=np.int64)
    if tokens.ndim == 2 and tokens.shape[0] == 1:
        tokens = tokens[0]
    if tokens.ndim != 1:
        raise InvalidArgument(
            f"input_ids of shape {tuple(tokens.shape)}: one sequence at a "
            f"time, (tokens,) or (1, tokens)"
        )
    return tokens


class _Chain:
    """A group's keys so far, and how many of its blocks were dealt with."""

    def __init__(self, group: LayerGroup, hasher: Hasher) -> None:
        self.group = group
        self.hasher = hasher
        self.keys = b""
        self.done = 0

    def parent(self, block: int) -> bytes | None:
        if block == 0:
            return None
        return self.keys[(block - 1) * KEY_BYTES : block * KEY_BYTES]


class Sequence:
    """One sequence, whose blocks are published as they become full.

    1. KVFerryCache.sequence()
    2. publish(cache, tokens) after every forward: of a prompt's chunks, of
       decode's steps; it does little while no block has become full
    3. close(), or `with`

    Everything of the cache that is not there yet is published. Blocks for which
    there was no memory are tried again with the next that becomes full; after
    a failure (the daemon was away) all are, from the first.

    Threads  one at a time
    """

    def __init__(self, owner: "KVFerryCache", publication: int) -> None:
        self._owner = owner
        self._number = publication
        self._publication: Publication | None = None
        self._chains: list[_Chain] = []
        self._tokens = np.empty(0, np.int64)
        self._full = 0  # blocks that became full up to the last call
        self._tail_end = 0  # tokens up to the end of the last tail
        # What each position of the publication is; those before `_settled`
        # have their final outcome.
        self._places: list[tuple[_Chain, int]] = []
        self._settled = 0
        self._parts = 0  # publications that were full

    def publish(
        self, cache: "DynamicCache", input_ids: Any, *, tail: bool = False
    ) -> int:
        """Publishes the blocks that have become full since the last call.

        `input_ids` are the sequence's tokens from the start. Those that the
        cache has K and V of count, the rest is ignored. With `tail`, a last
        block that is not full is published, too (full attention only; do so
        at the end of a prompt). The blocks that were written.

        Raises InvalidArgument when the cache is not the namespace's model's,
        or the tokens are not those of the calls before.
        """
        tokens = token_array(input_ids)[: int(cache.get_seq_length())]
        known = min(len(tokens), len(self._tokens))
        if not np.array_equal(tokens[:known], self._tokens[:known]):
            raise InvalidArgument(
                "input_ids are not those that were published before"
            )
        if len(tokens) > known:
            self._tokens = tokens.copy()
        spec = self._owner.spec
        full = len(tokens) // spec.block_tokens
        tail = tail and spec.has_tails and len(tokens) > self._tail_end
        tail = tail and len(tokens) % spec.block_tokens != 0
        if full <= self._full and not tail:
            return 0
        found = [held(cache, group) for group in spec.groups]
        if not all(found):
            return 0
        for layers, group in zip(found, spec.groups):
            check(layers, group, self._owner.held_heads(group), spec.dtype)

        misses = self._owner.misses
        with misses.caught("publish"):
            try:
                return self._attempt(tokens, full, found, tail)
            except Unavailable as error:
                # The daemon was restarted and is back: its memory is empty.
                client = self._owner.client
                if client is None or not client.connected:
                    raise
                misses.note("publish", error)
            return self._attempt(tokens, full, found, tail)
        return 0

    def close(self) -> None:
        """Waits until the daemon has taken everything in: it is visible then
        (of several processes that write slices, with the last one's)."""
        publication, self._publication = self._publication, None
        if publication is None:
            return
        with self._owner.misses.caught("publish"):
            try:
                publication.close(self._owner.timeout)
            finally:
                self._count(publication)

    def abort(self) -> None:
        """Gives up what is not committed."""
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _attempt(
        self,
        tokens: np.ndarray,
        full: int,
        found: list[list[Held]],
        tail: bool,
    ) -> int:
        whole = False
        try:
            written = self._publish(tokens, full, found, tail)
            whole = True
            return written
        finally:
            if not whole:
                self._give_up()

    def _publish(
        self,
        tokens: np.ndarray,
        full: int,
        found: list[list[Held]],
        tail: bool,
    ) -> int:
        if not self._open():
            return 0
        self._take_back()
        size = self._owner.spec.block_tokens
        starts = []
        for chain, layers in zip(self._chains, found):
            have = len(chain.keys) // KEY_BYTES
            if have < full:
                chain.keys += chain.hasher.hash_blocks(
                    tokens[have * size : full * size],
                    parent=chain.parent(have),
                    extra=self._owner.extra,
                )
            # Blocks whose first tokens a sliding layer dropped are lost here.
            oldest = -(-max(layer.first for layer in layers) // size)
            start = max(chain.done, min(oldest, full))
            self._owner.misses.count(dropped_blocks=start - chain.done)
            starts.append(start)

        written = 0
        for first in range(min(starts), full, _BLOCKS_PER_CHUNK):
            end = min(first + _BLOCKS_PER_CHUNK, full)
            publication = self._room_for(len(self._chains) * (end - first))
            chunk = len(self._places)
            for chain, layers, start in zip(self._chains, found, starts):
                if max(first, start) < end:
                    written += self._begin(
                        chain, layers, max(first, start), end
                    )
            publication.commit(chunk, len(self._places) - chunk)
        for chain in self._chains:
            chain.done = max(chain.done, full)
        self._full = full
        if tail:
            written += self._publish_tail(tokens, full, found[0])
        return written

    def _begin(
        self, chain: _Chain, layers: list[Held], first: int, end: int
    ) -> int:
        """Begins and fills blocks [first, end) of a group."""
        assert self._publication is not None
        position = self._publication.begin(
            chain.keys[first * KEY_BYTES : end * KEY_BYTES],
            group=chain.group.number,
            parent=chain.parent(first),
            timeout=self._owner.timeout,
        )
        self._places += [(chain, block) for block in range(first, end)]
        return copying.fill(
            self._publication,
            position,
            layers,
            chain.group,
            held_slices=self._owner.held_slices,
            own_slices=self._owner.own_slices,
            first_block=first,
            count=end - first,
        )

    def _publish_tail(
        self, tokens: np.ndarray, full: int, layers: list[Held]
    ) -> int:
        publication = self._room_for(1)
        chain = self._chains[0]
        rest = tokens[full * chain.group.spec.block_tokens :]
        parent = chain.parent(full)
        key = chain.hasher.hash_block(
            rest, parent=parent, extra=self._owner.extra
        )
        position = publication.begin(
            key,
            parent=parent,
            tail_tokens=len(rest),
            timeout=self._owner.timeout,
        )
        self._places.append((chain, full))
        written = copying.fill(
            publication,
            position,
            layers,
            chain.group,
            held_slices=self._owner.held_slices,
            own_slices=self._owner.own_slices,
            first_block=full,
            count=1,
            last_tokens=len(rest),
        )
        publication.commit(position, 1)
        self._tail_end = len(tokens)
        return written

    def _take_back(self) -> None:
        """Has blocks that found no memory dealt with once more."""
        assert self._publication is not None
        count = len(self._places) - self._settled
        outcomes = self._publication.outcomes(self._settled, count)
        names = [OUTCOMES[outcome] for outcome in outcomes]
        for (chain, block), name in zip(self._places[self._settled :], names):
            if name in ("no_space", "void"):
                chain.done = min(chain.done, block)
        # The daemon may not have answered the rest.
        waiting = [i for i, name in enumerate(names) if name in _UNANSWERED]
        self._settled += waiting[0] if waiting else count

    def _open(self) -> bool:
        """Whether there is a publication to go on with."""
        if self._publication is not None:
            return True
        client: Client | None = self._owner.client
        if client is None:
            return False
        self._chains = [
            _Chain(group, client.hasher(group.number))
            for group in self._owner.spec.groups
        ]
        self._tail_end = 0
        self._start(client)
        return True

    def _start(self, client: Client) -> None:
        self._places = []
        self._settled = 0
        self._publication = self._owner.open_publication(
            client, self._number + (self._parts << 32)
        )

    def _room_for(self, blocks: int) -> Publication:
        """The publication, or the next one when it cannot take so many."""
        assert self._publication is not None
        client = self._owner.client
        if len(self._places) + blocks > _POSITIONS_MAX and client is not None:
            self.close()
            self._parts += 1
            self._start(client)
        return self._publication

    def _give_up(self) -> None:
        publication, self._publication = self._publication, None
        self._full = 0
        if publication is not None:
            self._count(publication)
            publication.abort()

    def _count(self, publication: Publication) -> None:
        try:
            outcomes = publication.outcomes(0, len(publication))
        except Error:
            # It cannot say any more: none of it is known to be there.
            outcomes = bytes([OUTCOMES.index("void")]) * len(self._places)
        found = [OUTCOMES[outcome] for outcome in outcomes]
        published = found.count("committed")
        present = found.count("exists") + found.count("in_flight")
        self._owner.misses.count(
            published_blocks=published,
            present_blocks=present,
            unpublished_blocks=len(found) - published - present,
        )
