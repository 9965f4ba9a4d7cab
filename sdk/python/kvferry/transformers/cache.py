"""KVFerryCache: the door to a node's cache for one model."""

import os
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from transformers import DynamicCache

from kvferry import Client, Prefix, Publication
from kvferry.errors import (
    DeadlineExceeded,
    Error,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from kvferry.transformers import copying
from kvferry.transformers.layers import new_cache, put
from kvferry.transformers.misses import Misses, Stats
from kvferry.transformers.sequence import KEY_BYTES, Sequence, token_array
from kvferry.transformers.spec import LayerGroup, cache_spec, dtype_name

# What one match takes.
_KEYS_PER_CALL_MAX = 16384

# How long after a failed attach the next is tried.
_ATTACH_AGAIN_S = 1.0


class Restored(NamedTuple):
    """A cache, and how many tokens of the prompt it has."""

    cache: DynamicCache
    tokens: int


class KVFerryCache:
    """A model's KV cache in the node's shared memory.

    `config` is the model's configuration; cache_spec() says what follows from
    it and from `dtype`, `block_tokens`, `slices`, `name`, `model`, `revision`.
    `extra` goes into every key: adapters, tenants.

    Heads that are split over processes: `slices` parts, of which this process
    publishes `slice_count` (0: all) from `slice_first` on. Processes that
    write slices of the same blocks have one `engine_instance` (any number but
    0) and publish the same sequences in the same order. With `own_heads` the
    process's tensors have the heads of its slices only, as under tensor
    parallelism; else all.

    Failures  A daemon that is away, was restarted, or has no memory left is a
              miss: counted in `stats`, each kind logged once. `strict` has
              every call raise instead. A namespace that another model,
              geometry or element type made is always refused, here.
    Threads   Any number; a Sequence belongs to one at a time.
    Fork      Attaches anew in a forked child.
    """

    def __init__(
        self,
        config: Any,
        *,
        dtype: torch.dtype | None = None,
        block_tokens: int = 16,
        slices: int = 1,
        slice_first: int = 0,
        slice_count: int = 0,
        own_heads: bool = False,
        engine_instance: int = 0,
        name: str | None = None,
        model: str | None = None,
        revision: str | None = None,
        extra: bytes = b"",
        socket_path: str | None = None,
        client_name: str | None = None,
        publish: bool = True,
        timeout: float = 5.0,
        strict: bool = False,
    ) -> None:
        self.spec = cache_spec(
            config,
            dtype=dtype,
            block_tokens=block_tokens,
            slices=slices,
            name=name,
            model=model,
            revision=revision,
        )
        last = slice_first + (slice_count or slices - slice_first)
        if not 0 <= slice_first < last <= slices:
            raise InvalidArgument(
                f"slices [{slice_first}, {last}) are not among {slices}"
            )
        self.own_slices = range(slice_first, last)
        if len(self.own_slices) < slices and publish and engine_instance == 0:
            raise InvalidArgument(
                f"engine_instance is 0, and this process publishes only "
                f"slices [{slice_first}, {last}) of {slices}: the processes "
                f"of one engine need a number in common"
            )
        self.held_slices = self.own_slices if own_heads else range(slices)
        self.timeout = timeout
        self.extra = extra
        self.misses = Misses(strict)
        self._config = config
        self._engine_instance = engine_instance
        self._socket_path = socket_path
        self._client_name = client_name
        self._publish = publish
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pid = 0
        self._attach_at = 0.0
        self._sequences = 0
        self._closed = False
        try:
            self._attach()
        except (Unavailable, DeadlineExceeded, ResourceExhausted) as error:
            self.misses.note("attach", error)
            if strict:
                raise

    @property
    def stats(self) -> Stats:
        return self.misses.stats

    @property
    def client(self) -> Client | None:
        """Attached, or None: then it is tried again now and then."""
        with self._lock:
            if self._closed:
                return None
            if self._client is not None and self._pid == os.getpid():
                return self._client
            if time.monotonic() < self._attach_at:
                return None
            with self.misses.caught("attach"):
                self._attach()
            return self._client

    def new_cache(self) -> DynamicCache:
        """An empty cache of the model, whose sliding layers let go of tokens
        only when they could be published."""
        return new_cache(self.spec, self._config, self._publish)

    def sequence(self, *, publication: int = 0) -> Sequence:
        """Publishes one sequence. `publication` names it among the processes
        of one engine; 0: they count alike."""
        if not self._publish:
            raise InvalidArgument("publish is False: it only restores")
        with self._lock:
            self._sequences += 1
            return Sequence(self, publication or self._sequences)

    def publish(
        self, cache: DynamicCache, input_ids: Any, *, tail: bool = False
    ) -> int:
        """Publishes what `cache` has, and waits until it is visible; how many
        blocks were written. Sequence.publish says the rest."""
        with self.sequence() as sequence:
            return sequence.publish(cache, input_ids, tail=tail)

    def restore(
        self, input_ids: Any, *, device: torch.device | str = "cpu"
    ) -> Restored:
        """A cache with the longest prefix of a prompt that is there.

        At least one token is left to compute, the one whose logits say what
        comes next: feed input_ids[:, tokens:]. A miss is an empty cache.
        """
        tokens = token_array(input_ids)
        cache = self.new_cache()
        restored = 0
        with self.misses.caught("restore"):
            restored = self._restore(tokens, torch.device(device), cache)
        if restored == 0:
            self.misses.count(misses=1)
            return Restored(self.new_cache(), 0)
        self.misses.count(hits=1, restored_tokens=restored)
        return Restored(cache, restored)

    def close(self) -> None:
        """Ends the session with the daemon; everything is a miss from now."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- for Sequence --------------------------------------------------------

    def held_heads(self, group: LayerGroup) -> int:
        return len(self.held_slices) * group.slice_heads

    def open_publication(self, client: Client, number: int) -> Publication:
        return client.open_publication(
            engine_instance=self._engine_instance,
            publication=number if self._engine_instance else 0,
            slice_first=self.own_slices.start,
            slice_count=len(self.own_slices),
        )

    # --- inside --------------------------------------------------------------

    def _attach(self) -> None:
        self._client = None
        self._attach_at = time.monotonic() + _ATTACH_AGAIN_S
        self._client = Client(
            self.spec.name,
            groups=self.spec.group_specs,
            model=self.spec.model,
            revision=self.spec.revision,
            dtype=dtype_name(self.spec.dtype),
            socket_path=self._socket_path,
            publish=self._publish,
            client_name=self._client_name,
            timeout=self.timeout,
        )
        self._pid = os.getpid()
        self._attach_at = 0.0

    def _restore(
        self, tokens: Any, device: torch.device, cache: DynamicCache
    ) -> int:
        """Fills `cache`; the tokens that it has then."""
        client = self.client
        size = self.spec.block_tokens
        full = min(len(tokens) // size, _KEYS_PER_CALL_MAX)
        rest = tokens[full * size :]
        if not self.spec.has_tails or len(rest) >= size:
            rest = rest[:0]
        # The last token is computed in any case.
        if client is None or full * size + len(rest) < 2:
            return 0
        queries: list[tuple[int, bytes] | tuple[int, bytes, int]] = []
        for group in self.spec.groups:
            hasher = client.hasher(group.number)
            keys = hasher.hash_blocks(tokens[: full * size], extra=self.extra)
            if len(rest):
                keys += hasher.hash_block(
                    rest, parent=keys[-KEY_BYTES:] or None, extra=self.extra
                )
            queries.append((group.number, keys, len(rest)))
        if not queries[0][1]:
            return 0
        with client.match_groups(queries) as prefix:
            count = min(prefix.tokens, len(tokens) - 1)
            if count < 1:
                return 0
            for group in self.spec.groups:
                self._restore_group(prefix, group, device, cache, count)
        return count

    def _restore_group(
        self,
        prefix: Prefix,
        group: LayerGroup,
        device: torch.device,
        cache: DynamicCache,
        count: int,
    ) -> None:
        first = prefix.first_block(group.number) * self.spec.block_tokens
        tensors = copying.copy_out(
            prefix, group, self.held_slices, self.spec.dtype, device,
            prefix.tokens % self.spec.block_tokens,
        )  # fmt: skip
        for i, (keys, values) in zip(group.layers, tensors):
            put(
                cache.layers[i],
                keys[..., : count - first, :],
                values[..., : count - first, :],
                count,
            )
