"""Hugging Face transformers: a model's DynamicCache through KVFerry.

    kv = KVFerryCache(model.config, dtype=torch.bfloat16)

    # A process that computes a prompt:
    cache = kv.new_cache()
    with kv.sequence() as sequence:
        for end in range(chunk, tokens + chunk, chunk):
            model(input_ids=ids[:, end - chunk : end], past_key_values=cache)
            sequence.publish(cache, ids)

    # Any other process on the node, later or at the same time:
    cache, cached = kv.restore(ids, device=model.device)
    model(input_ids=ids[:, cached:], past_key_values=cache)

Layers of full attention are one group of the namespace, layers with a sliding
window are another; a model that has layers of another kind is refused. Needs
torch, and transformers with caches made of layers (4.56 or newer).
"""

from kvferry.transformers.cache import KVFerryCache, Restored
from kvferry.transformers.layers import SlidingLayer
from kvferry.transformers.misses import Stats
from kvferry.transformers.sequence import Sequence
from kvferry.transformers.spec import CacheSpec, LayerGroup

__all__ = [
    "CacheSpec",
    "KVFerryCache",
    "LayerGroup",
    "Restored",
    "Sequence",
    "SlidingLayer",
    "Stats",
]
