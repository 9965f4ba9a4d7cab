"""An engine process that answers a prompt step by step, so that a test can
meddle with the daemon between two of them (support.peer_process)."""

from types import SimpleNamespace

import torch
from engine_process import Answer, Prompt
from tiny_models import Feeder


def begin(state: SimpleNamespace, prompt: Prompt) -> int:
    """Restores what there is of a prompt, computes the rest and publishes it;
    the tokens that were there."""
    ids = prompt.ids(state.config)
    cache, cached = state.kv.restore(ids)
    state.feeder = Feeder(state.model, cache)
    state.cached = cached
    state.sequence = state.kv.sequence()
    state.tokens = ids[0].tolist()
    state.prompt_tokens = len(state.tokens)
    state.rows = []
    state.logits = state.feeder.feed(ids[:, cached:])
    state.sequence.publish(cache, state.tokens)
    return cached


def step(state: SimpleNamespace, count: int) -> None:
    """Decodes `count` tokens more, and publishes what becomes full."""
    for _ in range(count):
        row = state.logits[-1]
        state.rows.append(row)
        state.tokens.append(int(row.argmax()))
        state.logits = state.feeder.feed(torch.tensor([state.tokens[-1:]]))
        state.sequence.publish(state.feeder.cache, state.tokens)


def end(state: SimpleNamespace) -> Answer:
    state.sequence.close()
    rows = torch.stack(state.rows)
    best = rows.topk(2, dim=-1).values
    return Answer(
        state.cached,
        state.feeder.fed_tokens,
        state.tokens[state.prompt_tokens :],
        rows.numpy(),
        float((best[:, 0] - best[:, 1]).min()),
    )
