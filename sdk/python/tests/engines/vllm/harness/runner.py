"""The fake model runner: vLLM's batch, fake arithmetic, real pages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput

from harness import oracle
from harness.models import ModelShape
from harness.pages import Pages


@dataclass
class Sequence:
    """A request as the runner keeps it between steps."""

    tokens: list[int]
    prompt_count: int
    tables: list[list[int]]
    computed: int
    chain: list[int] = field(default_factory=list)


class FakeModelRunner:
    """Owns the pages of one rank, computes its heads."""

    def __init__(
        self,
        shape: ModelShape,
        heads: range,
        pages: Pages,
        layers: range,
        is_replica: bool,
    ) -> None:
        self.shape = shape
        self.heads = heads
        self.pages = pages
        self.layers = shape.layer_names()[layers.start : layers.stop]
        self.layer_first = layers.start
        self.is_replica = is_replica
        self.weights = 1
        self.sequences: dict[str, Sequence] = {}
        # What attention read that the tokens do not give: (request, layer).
        self.deviations: list[tuple[str, str]] = []

    def update(self, output: SchedulerOutput) -> None:
        """Takes over what the scheduler says, as vLLM's runners do."""
        for request_id in output.finished_req_ids:
            self.sequences.pop(request_id, None)
        for new in output.scheduled_new_reqs:
            prompt = list(new.prompt_token_ids or ())
            tokens = list(new.prefill_token_ids or prompt)
            self.sequences[new.req_id] = Sequence(
                tokens,
                len(prompt),
                [list(ids) for ids in new.block_ids],
                new.num_computed_tokens,
            )
        cached = output.scheduled_cached_reqs
        for i, request_id in enumerate(cached.req_ids):
            sequence = self.sequences[request_id]
            sequence.computed = cached.num_computed_tokens[i]
            known = cached.all_token_ids.get(request_id)
            if known is not None and request_id in cached.resumed_req_ids:
                sequence.tokens = list(known)
                sequence.chain.clear()
            # A step whose load failed sampled what the scheduler dropped.
            keep = sequence.prompt_count + cached.num_output_tokens[i]
            del sequence.tokens[keep:]
            del sequence.chain[keep:]
            new_ids = cached.new_block_ids[i]
            if request_id in cached.resumed_req_ids:
                assert new_ids is not None
                sequence.tables = [list(ids) for ids in new_ids]
            elif new_ids is not None:
                for table, ids in zip(sequence.tables, new_ids, strict=True):
                    table.extend(ids)
        if output.new_block_ids_to_zero:
            self.pages.zero(output.new_block_ids_to_zero)
        if output.kv_cache_block_copies:
            self.pages.copy(output.kv_cache_block_copies)

    def forward(
        self,
        output: SchedulerOutput,
        before_layer: Callable[[str], None],
        after_layer: Callable[[str, Any], None],
    ) -> dict[str, int]:
        """One step's batch. The digest of what this rank's attention read, of
        each request that samples."""
        spans: dict[str, tuple[int, int]] = {}
        states: dict[str, np.ndarray] = {}
        spoiled = dict.fromkeys(output.num_scheduled_tokens, 0)
        digests: dict[str, int] = {}
        for request_id, count in output.num_scheduled_tokens.items():
            sequence = self.sequences[request_id]
            first, end = sequence.computed, sequence.computed + count
            assert end <= len(sequence.tokens), (
                f"{request_id}: tokens to {end} are scheduled of "
                f"{len(sequence.tokens)} known"
            )
            oracle.extend_chain(sequence.chain, sequence.tokens, self.weights)
            spans[request_id] = (first, end)
            states[request_id] = np.array(sequence.chain[:end], np.uint64)
            if end == len(sequence.tokens):
                digests[request_id] = 0
        for index, layer in enumerate(self.layers):
            depth = self.layer_first + index
            group = self.pages.group_of[layer]
            window = self.shape.windows[depth]
            words = self.pages.words(layer)
            before_layer(layer)
            for request_id, (first, end) in spans.items():
                values = oracle.kv_words(
                    states[request_id][first:end], depth, self.heads, words
                )
                self.pages.write(
                    layer,
                    self.sequences[request_id].tables[group],
                    first,
                    values ^ np.uint64(spoiled[request_id]),
                )
            for request_id, (first, end) in spans.items():
                start = 0 if window is None else max(0, first - window + 1)
                read = self.pages.read(
                    layer,
                    self.sequences[request_id].tables[group],
                    start,
                    end,
                )
                expected = oracle.kv_words(
                    states[request_id][start:end], depth, self.heads, words
                )
                wrong = oracle.deviation(read, expected, start)
                if wrong and not spoiled[request_id]:
                    self.deviations.append((request_id, layer))
                spoiled[request_id] ^= wrong
                if request_id in digests:
                    last = 0 if window is None else max(0, end - window)
                    part = slice(last - start, None)
                    digests[request_id] += oracle.digest(
                        read[part], last, depth, self.heads
                    )
                    if self.is_replica:  # Its heads count once.
                        digests[request_id] -= oracle.digest(
                            expected[part], last, depth, self.heads
                        )
            after_layer(layer, self.pages.tensors[layer])
        return digests

    def accept(self, tokens: dict[str, int]) -> None:
        for request_id, token in tokens.items():
            self.sequences[request_id].tokens.append(token)
