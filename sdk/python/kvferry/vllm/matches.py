"""Matching a request's prompt, and holding what hit."""

import time
from typing import TYPE_CHECKING

from kvferry import Prefix, errors
from kvferry.vllm.link import DaemonLink, Faults
from kvferry.vllm.metadata import KEY_BYTES, KEYS_MAX
from kvferry.vllm.requests import RequestState
from kvferry.vllm.stats import KVFerryStats

if TYPE_CHECKING:
    from kvferry import Client
    from kvferry.vllm.config import ConnectorConfig
    from kvferry.vllm.spec import NamespaceLayout

_FREE_PREFIXES_MAX = 64

_Groups = list[tuple[int, memoryview]]


class Matches:
    """The pins of all requests' hits.

    Threads  the scheduler's
    """

    def __init__(
        self,
        layout: "NamespaceLayout",
        config: "ConnectorConfig",
        link: DaemonLink,
        faults: Faults,
        stats: KVFerryStats,
    ) -> None:
        self._layout = layout
        self._config = config
        self._link = link
        self._faults = faults
        self._stats = stats
        self._least_block_tokens = min(
            part.block_tokens for part in layout.parts
        )
        self._free_prefixes: list[Prefix] = []

    def find(self, state: RequestState, local_tokens: int) -> int | None:
        """Tokens beyond the first `local_tokens` that are here, and pins
        them. None: ask again, more is on its way. Asked again with nothing
        changed, it answers the same."""
        client = self._link.client
        if (
            client is None
            or not state.may_load
            or state.request.skip_reading_prefix_cache
            or local_tokens % self._layout.scheduler_block_tokens != 0
        ):
            self.unpin(state)
            return 0
        try:
            if self._stands(state, local_tokens):
                return state.match_tokens
            return self._find_anew(state, client, local_tokens)
        except errors.Error as error:
            self._faults.report("match", error)
            self.unpin(state)
            return 0

    def unpin(self, state: RequestState) -> None:
        prefix = state.prefix
        if prefix is not None:
            state.prefix = None
            self._put_back(prefix)

    def close(self) -> None:
        self._free_prefixes.clear()

    def _stands(self, state: RequestState, local_tokens: int) -> bool:
        """Whether the answer of an earlier call still stands. A miss never
        does: to ask again costs nothing, and somebody may have published."""
        if not state.matched_as_now(local_tokens):
            return False
        assert state.prefix is not None
        try:
            state.prefix.check()
        except errors.Error:
            return False  # revoked, or of a daemon that is gone
        return True

    def _find_anew(
        self, state: RequestState, client: "Client", local_tokens: int
    ) -> int | None:
        self.unpin(state)
        groups = self._keys_after(state, client, local_tokens)
        if not groups:
            return 0
        self._stats.add("matches")
        prefix = self._free_prefixes.pop() if self._free_prefixes else None
        if len(groups) == 1:
            prefix = client.match(groups[0][1], into=prefix)
        else:
            prefix = client.match_groups(groups, into=prefix)
        tokens = prefix.tokens
        if self._should_wait(state, client, groups, tokens):
            self._put_back(prefix)
            return None
        if tokens < max(self._config.min_tokens, 1):
            self._put_back(prefix)
            return 0
        state.prefix = prefix
        state.match_local = local_tokens
        state.match_hashes = state.hash_count
        state.match_last_hash = state.last_hash
        state.match_tokens = tokens
        self._stats.add("hit_prompts")
        self._stats.add("hit_tokens", tokens)
        return tokens

    def _keys_after(
        self, state: RequestState, client: "Client", local_tokens: int
    ) -> _Groups:
        """The keys of every part from `local_tokens` on: what is before has
        its blocks in the engine, also the beginning of a window. Empty when
        there is no block to ask for."""
        state.name_blocks(client)
        layout = self._layout
        # One token is left to compute, or there are no logits to sample from.
        end_tokens = min(
            state.hash_count * layout.hash_block_tokens,
            state.request.num_tokens - 1,
            local_tokens + KEYS_MAX * self._least_block_tokens,
        )
        end_tokens -= end_tokens % layout.scheduler_block_tokens
        if end_tokens <= local_tokens:
            return []
        groups: _Groups = []
        for part in layout.parts:
            first = local_tokens // part.block_tokens * KEY_BYTES
            end = end_tokens // part.block_tokens * KEY_BYTES
            groups.append(
                (part.index, memoryview(state.keys[part.index])[first:end])
            )
        return groups

    def _should_wait(
        self,
        state: RequestState,
        client: "Client",
        groups: _Groups,
        tokens: int,
    ) -> bool:
        """Whether more is in flight and time to wait for it is left."""
        wait_ms = self._config.wait_in_flight_ms
        if state.remote_prefill:
            wait_ms = max(wait_ms, self._config.remote_prefill_wait_ms)
        if wait_ms == 0:
            return False
        asked_blocks = len(groups[0][1]) // KEY_BYTES
        if tokens >= asked_blocks * self._layout.parts[0].block_tokens:
            return False
        now = time.monotonic()
        if state.ask_deadline is None:
            state.ask_deadline = now + wait_ms / 1e3
        if now >= state.ask_deadline or not client.connected:
            return False
        return client.lookup_groups(groups).answer == "ask_again"

    def _put_back(self, prefix: Prefix) -> None:
        prefix.release()
        if len(self._free_prefixes) < _FREE_PREFIXES_MAX:
            self._free_prefixes.append(prefix)
