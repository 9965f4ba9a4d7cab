"""What an engine process of a test is told to do (support.peer_process)."""

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed
from support.peer_process import Peer
from tiny_models import (
    Feeder,
    build_config,
    build_model,
    build_prompt,
    chunk_ends,
    decode,
    split_heads,
)
from transformers import DynamicCache

from kvferry.transformers import KVFerryCache, LayerGroup, copying

torch.set_num_threads(1)

_READY_TIMEOUT_S = 300.0

# A page's name and the digest of its bytes: {(group, block, slice): sha256}.
Digests = dict[tuple[int, int, int], str]


@dataclass(frozen=True)
class Setup:
    """A model and how its process attaches."""

    socket_path: str
    kind: str = "llama"
    dtype: str = "float64"
    changes: dict[str, Any] = field(default_factory=dict)  # of the config
    options: dict[str, Any] = field(default_factory=dict)  # of KVFerryCache
    # Copy the way a device's tensors are.
    through_torch: bool = False
    # (rank, ranks, file): a share of the heads.
    split: tuple[int, int, str] | None = None


@dataclass(frozen=True)
class Prompt:
    tokens: int
    seed: int = 1

    def ids(self, config: Any) -> torch.Tensor:
        return build_prompt(self.tokens, config.vocab_size, self.seed)


@dataclass(frozen=True)
class Answer:
    """What decode came to."""

    cached: int
    fed: int
    tokens: list[int]
    logits: np.ndarray
    margin: float


@contextmanager
def engine_peer(name: str) -> Iterator[Peer]:
    """A process that is ready to be told: it has read the libraries, which
    takes a busy machine a while."""
    with Peer(name) as peer:
        peer.tell(ready)
        peer.answer(_READY_TIMEOUT_S)
        yield peer


def ready(state: SimpleNamespace) -> None:
    """Nothing: this module was read before."""


def attach(state: SimpleNamespace, setup: Setup) -> None:
    """Makes the model and the cache; ends what was there before."""
    detach(state)
    state.config = build_config(setup.kind, **setup.changes)
    dtype = getattr(torch, setup.dtype)
    state.model = build_model(state.config, dtype=dtype)
    if setup.split is not None:
        rank, ranks, path = setup.split
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{path}", rank=rank, world_size=ranks
        )
        split_heads(state.model, rank, ranks)
    state.copies_strided = copying.copies_strided
    if setup.through_torch:
        copying.copies_strided = lambda device: False
    state.kv = KVFerryCache(
        state.config,
        dtype=dtype,
        model=f"tiny-{setup.kind}",
        socket_path=setup.socket_path,
        **{"strict": True, **setup.options},
    )


def detach(state: SimpleNamespace) -> None:
    if hasattr(state, "kv"):
        state.kv.close()
        copying.copies_strided = state.copies_strided
        del state.kv
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def stats(state: SimpleNamespace) -> Any:
    return state.kv.stats


# --- prefill -----------------------------------------------------------------


def prefill(
    state: SimpleNamespace,
    prompt: Prompt,
    chunk: int = 1 << 20,
    tail: bool = False,
    publish_at_end: bool = False,
    plain_cache: bool = False,
) -> Digests:
    """Computes a prompt and publishes it; what its pages must hold."""
    ids = prompt.ids(state.config)
    cache = state.kv.new_cache()
    if plain_cache:
        cache = DynamicCache(config=state.config)
    feeder = Feeder(state.model, cache)
    seen = _record_updates(cache)
    first = 0
    with state.kv.sequence() as sequence:
        for end in chunk_ends(prompt.tokens, chunk):
            feeder.feed(ids[:, first:end])
            first = end
            if not publish_at_end:
                sequence.publish(cache, ids, tail=tail)
        if publish_at_end:
            sequence.publish(cache, ids, tail=tail)
    return _digests_of_updates(state, seen, ids.shape[1])


def prefill_and_die(state: SimpleNamespace, prompt: Prompt) -> None:
    """Computes a prompt, fills the pages, and is killed before the commit."""
    fill = copying.fill

    def fill_and_die(*arguments: Any, **more: Any) -> int:
        fill(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    copying.fill = fill_and_die
    prefill(state, prompt)


def prefill_with_a_flipped_byte(
    state: SimpleNamespace, prompt: Prompt, block: int
) -> None:
    """Publishes a prompt with one wrong byte in the page of one block."""
    fill = copying.fill

    def fill_and_flip(
        publication: Any, position: int, found: Any, group: LayerGroup,
        **more: Any,
    ) -> int:  # fmt: skip
        written = fill(publication, position, found, group, **more)
        place = block - more["first_block"]
        if group.number == 0 and 0 <= place < more["count"]:
            page = publication.page(position + place, 0)
            # The exponent of the first layer's first V: a linear term, that
            # counts however little attention the token gets.
            values = group.spec.page_bytes // (2 * group.spec.layer_count)
            memoryview(page).cast("B")[values + 7] ^= 0x7F
        return written

    copying.fill = fill_and_flip
    try:
        prefill(state, prompt)
    finally:
        copying.fill = fill


def _record_updates(cache: DynamicCache) -> list[list[tuple[Any, Any]]]:
    """K and V that the model gives the cache, by layer."""
    seen: list[list[tuple[Any, Any]]] = [[] for _ in cache.layers]
    update = cache.update

    def record(keys: Any, values: Any, layer: int, *rest: Any, **more: Any):
        seen[layer].append((keys.clone(), values.clone()))
        return update(keys, values, layer, *rest, **more)

    cache.update = record
    return seen


def _digests_of_updates(
    state: SimpleNamespace, seen: list[list[tuple[Any, Any]]], tokens: int
) -> Digests:
    digests: Digests = {}
    for group in state.kv.spec.groups:
        pairs = [
            tuple(torch.cat(part, dim=2) for part in zip(*seen[i]))
            for i in group.layers
        ]
        digests |= digests_of(state, group, pairs, 0)
    return digests


def digests_of(
    state: SimpleNamespace, group: LayerGroup, pairs: Any, first: int
) -> Digests:
    """Of the full pages of K and V of tokens from `first` on, [1, heads,
    tokens, dim] a layer, in the order that layout.h gives."""
    spec = group.spec
    size = spec.block_tokens
    tensor = torch.stack([torch.stack([k[0], v[0]]) for k, v in pairs])
    tokens = tensor.shape[3]
    digests: Digests = {}
    block = -(-first // size)
    while (block + 1) * size <= first + tokens:
        at = block * size - first
        for number, slice in enumerate(state.kv.held_slices):
            heads = number * spec.head_count
            page = tensor[:, :, heads : heads + spec.head_count, at : at + size]
            page = page.transpose(2, 3).contiguous().view(torch.uint8)
            digest = hashlib.sha256(page.numpy().tobytes()).hexdigest()
            digests[group.number, block, slice] = digest
        block += 1
    return digests


# --- decode ------------------------------------------------------------------


def decode_prompt(
    state: SimpleNamespace,
    prompt: Prompt,
    new_tokens: int = 12,
    append: bool = False,
) -> Answer:
    """Restores what there is and decodes on; with `append`, publishes what it
    computes."""
    ids = prompt.ids(state.config)
    return _decode(state, ids, new_tokens, append)


def decode_next_turn(
    state: SimpleNamespace, prompt: Prompt, tokens: list[int], more: Prompt
) -> Answer:
    """The same, of a prompt, its answer, and what is asked then."""
    ids = _joined(state, prompt, tokens, more)
    return _decode(state, ids, 12, False)


def _decode(
    state: SimpleNamespace, ids: torch.Tensor, new_tokens: int, append: bool
) -> Answer:
    cache, cached = state.kv.restore(ids)
    feeder = Feeder(state.model, cache)
    if not append:
        found = decode(feeder, ids, cached, new_tokens)
    else:
        with state.kv.sequence() as sequence:
            found = decode(
                feeder, ids, cached, new_tokens,
                after_step=lambda tokens: sequence.publish(cache, tokens),
            )  # fmt: skip
    return Answer(
        cached, feeder.fed_tokens, found.tokens, found.rows.numpy(),
        found.margin,
    )  # fmt: skip


def reference(
    state: SimpleNamespace, prompt: Prompt, new_tokens: int = 12
) -> Answer:
    """The same without KVFerry."""
    return _reference(state, prompt.ids(state.config), new_tokens)


def reference_next_turn(
    state: SimpleNamespace, prompt: Prompt, tokens: list[int], more: Prompt
) -> Answer:
    return _reference(state, _joined(state, prompt, tokens, more), 12)


def _reference(
    state: SimpleNamespace, ids: torch.Tensor, new_tokens: int
) -> Answer:
    feeder = Feeder(state.model, DynamicCache(config=state.config))
    found = decode(feeder, ids, 0, new_tokens)
    return Answer(
        0, feeder.fed_tokens, found.tokens, found.rows.numpy(), found.margin
    )


def generate(
    state: SimpleNamespace, prompt: Prompt, restore: bool, new_tokens: int = 12
) -> tuple[int, list[int]]:
    """By the model's own generate(); tokens that were cached, and new."""
    ids = prompt.ids(state.config)
    cache, cached = DynamicCache(config=state.config), 0
    if restore:
        cache, cached = state.kv.restore(ids)
    out = state.model.generate(
        ids, past_key_values=cache, max_new_tokens=new_tokens, do_sample=False,
        attention_mask=torch.ones_like(ids), pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    return cached, out[0, ids.shape[1] :].tolist()


def _joined(
    state: SimpleNamespace, prompt: Prompt, tokens: list[int], more: Prompt
) -> torch.Tensor:
    return torch.cat(
        [
            prompt.ids(state.config),
            torch.tensor([tokens]),
            more.ids(state.config),
        ],
        dim=1,
    )


# --- what the daemon has -----------------------------------------------------


def keys(state: SimpleNamespace, prompt: Prompt, group: int = 0) -> list[str]:
    """Of a prompt's full blocks, as an operator writes them."""
    ids = prompt.ids(state.config)[0].numpy()
    packed = state.kv.client.hasher(group).hash_blocks(ids)
    return [packed[i : i + 16].hex() for i in range(0, len(packed), 16)]


def pulled_pages(state: SimpleNamespace, prompt: Prompt) -> Digests:
    """Of the pages of a hit, as they lie in shared memory."""
    ids = prompt.ids(state.config)[0].numpy()
    client = state.kv.client
    digests: Digests = {}
    groups = state.kv.spec.groups
    if len(ids) < groups[0].spec.block_tokens:
        return digests
    queries = [
        (g.number, client.hasher(g.number).hash_blocks(ids)) for g in groups
    ]
    with client.match_groups(queries) as prefix:
        for group in groups:
            first = prefix.first_block(group.number)
            for i in range(first, first + prefix.block_count(group.number)):
                for slice in range(group.spec.slice_count):
                    page = prefix.page(i, slice, group.number)
                    digest = hashlib.sha256(bytes(page)).hexdigest()
                    digests[group.number, i, slice] = digest
        prefix.check()
    return digests


def restored_pages(state: SimpleNamespace, prompt: Prompt) -> Digests:
    """Of the full blocks in a restored cache's tensors."""
    cache, tokens = state.kv.restore(prompt.ids(state.config))
    digests: Digests = {}
    if tokens == 0:
        return digests
    for group in state.kv.spec.groups:
        layers = [cache.layers[i] for i in group.layers]
        first = tokens - layers[0].keys.shape[2]
        pairs = [(layer.keys, layer.values) for layer in layers]
        digests |= digests_of(state, group, pairs, first)
    return digests
