#!/usr/bin/env python3
"""Computes a prompt, and publishes its KV blocks chunk by chunk."""

import json
import os
import time
from typing import Any

import torch
import torch.distributed
from arguments import (
    dtype_of,
    names,
    parser,
    say,
    say_line,
    size_text,
)
from tiny_models import (
    Feeder,
    build_config,
    build_model,
    build_prompt,
    chunk_ends,
    split_heads,
)

from kvferry.transformers import KVFerryCache


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--rank", type=int, default=0)
    command.add_argument("--rendezvous", help="a file that the ranks share")
    command.add_argument("--engine-instance", type=int, default=0)
    options = command.parse_args()
    torch.set_num_threads(1)

    config = build_config(options.model)
    dtype = dtype_of(options)
    model = build_model(config, dtype=dtype, device=options.device)
    split: dict[str, Any] = {}
    if options.ranks > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{options.rendezvous}",
            rank=options.rank,
            world_size=options.ranks,
        )
        split_heads(model, options.rank, options.ranks)
        split = {
            "slices": options.ranks,
            "slice_first": options.rank,
            "slice_count": 1,
            "own_heads": True,
            "engine_instance": options.engine_instance,
        }
    prompt = build_prompt(
        options.prompt_tokens, config.vocab_size, options.prompt_seed
    )
    with KVFerryCache(
        config,
        dtype=dtype,
        block_tokens=options.block_tokens,
        socket_path=options.socket,
        strict=True,
        **names(options),
        **split,
    ) as kv:
        feeder = Feeder(model, kv.new_cache())
        publishing = 0.0
        begun = time.perf_counter()
        boundary = options.prompt_tokens - (
            options.prompt_tokens % options.block_tokens
        )
        with kv.sequence() as sequence:
            first = 0
            for end in chunk_ends(
                options.prompt_tokens, options.chunk, boundary
            ):
                feeder.feed(prompt[:, first:end])
                first = end
                start = time.perf_counter()
                sequence.publish(feeder.cache, prompt)
                publishing += time.perf_counter() - start
            start = time.perf_counter()
        publishing += time.perf_counter() - start
        seconds = time.perf_counter() - begun
        page_bytes = sum(
            group.spec.page_bytes for group in kv.spec.groups
        ) // len(kv.spec.groups)
        result = {
            "pid": os.getpid(),
            "rank": options.rank,
            "fed_tokens": feeder.fed_tokens,
            "calls": feeder.calls,
            "published_blocks": kv.stats.published_blocks,
            "present_blocks": kv.stats.present_blocks,
            "published_bytes": kv.stats.published_blocks * page_bytes,
            "groups": [group.spec.name for group in kv.spec.groups],
            "seconds": seconds,
            "publish_seconds": publishing,
        }
    if options.ranks > 1:
        torch.distributed.destroy_process_group()
    if options.json:
        say_line(json.dumps(result))
        return
    who = "prefill" if options.ranks == 1 else f"prefill{options.rank}"
    say(
        who,
        f"pid {result['pid']}: computed {feeder.fed_tokens} tokens in "
        f"{feeder.calls} chunks, {seconds * 1e3:.0f} ms",
    )
    say(
        who,
        f"published {result['published_blocks']} blocks of "
        f"{' and '.join(result['groups'])} attention "
        f"({size_text(result['published_bytes'])}), "
        f"{result['present_blocks']} were there, in {publishing * 1e3:.1f} ms",
    )


if __name__ == "__main__":
    main()
