#!/usr/bin/env python3
"""Takes a prompt's KV blocks from the daemon and decodes on; then does the
same without a cache, and compares."""

import json
import os
import sys
import time

import torch
from arguments import dtype_of, names, parser, say, say_line
from tiny_models import (
    Feeder,
    build_config,
    build_model,
    build_prompt,
    chunk_ends,
    decode,
)
from transformers import DynamicCache

from kvferry.transformers import KVFerryCache


def main() -> None:
    options = parser(__doc__).parse_args()
    torch.set_num_threads(1)

    config = build_config(options.model)
    dtype = dtype_of(options)
    model = build_model(config, dtype=dtype, device=options.device)
    prompt = build_prompt(
        options.prompt_tokens, config.vocab_size, options.prompt_seed
    )
    with KVFerryCache(
        config,
        dtype=dtype,
        block_tokens=options.block_tokens,
        slices=options.ranks,
        socket_path=options.socket,
        publish=False,
        strict=True,
        **names(options),
    ) as kv:
        start = time.perf_counter()
        cache, cached = kv.restore(prompt, device=options.device)
        restoring = time.perf_counter() - start

    feeder = Feeder(model, cache)
    start = time.perf_counter()
    found = decode(feeder, prompt, cached, options.new_tokens)
    decoding = time.perf_counter() - start

    # In float64 whatever is fed at once gives the same; in less, a product of
    # other shapes rounds otherwise, so the prompt is fed in the same pieces.
    ends = None
    if dtype != torch.float64:
        ends = chunk_ends(options.prompt_tokens, options.chunk, cached)
    plain = Feeder(model, DynamicCache(config=config))
    start = time.perf_counter()
    expected = decode(plain, prompt, 0, options.new_tokens, ends)
    without = time.perf_counter() - start

    difference = float((found.rows - expected.rows).abs().max())
    equal = found.tokens == expected.tokens
    result = {
        "pid": os.getpid(),
        "cached_tokens": cached,
        "fed_tokens": feeder.fed_tokens,
        "fed_tokens_without": plain.fed_tokens,
        "tokens": found.tokens,
        "tokens_equal": equal,
        "logit_difference": difference,
        "margin": expected.margin,
        "restore_seconds": restoring,
        "seconds": decoding,
        "seconds_without": without,
    }
    if options.json:
        say_line(json.dumps(result))
    else:
        pairs = (("with it", feeder, decoding), ("without", plain, without))
        say(
            "decode",
            f"pid {result['pid']}: hit {cached} of {options.prompt_tokens} "
            f"tokens, restored in {restoring * 1e3:.1f} ms",
        )
        for name, run, seconds in pairs:
            say(
                "",
                f"{name}  fed {run.fed_tokens} tokens in {run.calls} calls, "
                f"{seconds * 1e3:.0f} ms",
            )
        say(
            "",
            f"{len(found.tokens)} new tokens "
            f"{'equal' if equal else 'DIFFER'}; logits differ by at most "
            f"{difference:.1e}, the best leads by {expected.margin:.1e}",
        )
    if not equal:
        sys.exit(1)


if __name__ == "__main__":
    main()
