"""Small models with random weights, the same in every process."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

# Large enough that the likeliest token stands clear of the next one.
_INITIALIZER_RANGE = 0.3
WEIGHTS_SEED = 7

_SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "initializer_range": _INITIALIZER_RANGE,
    "tie_word_embeddings": False,
}


def build_config(kind: str, **changes: Any) -> Any:
    """Of "llama" (full attention) or "gpt-oss" (every other layer with a
    sliding window, sinks, experts); `changes` are fields of it."""
    if kind == "llama":
        return LlamaConfig(
            attn_implementation="eager", **{**_SHAPE, **changes}
        )
    if kind == "gpt-oss":
        experts: dict[str, Any] = {
            "sliding_window": 40,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 64,
            },
            # The grouped product of matrices does not know float64.
            "experts_implementation": "eager",
        }
        return GptOssConfig(
            attn_implementation="eager", **{**_SHAPE, **experts, **changes}
        )
    raise ValueError(f"model {kind!r} is neither 'llama' nor 'gpt-oss'")


def build_model(
    config: Any,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    seed: int = WEIGHTS_SEED,
) -> Any:
    torch.manual_seed(seed)
    kinds = {"llama": LlamaForCausalLM, "gpt_oss": GptOssForCausalLM}
    model = kinds[config.model_type](config)
    return model.to(device=device, dtype=dtype).eval()


def build_prompt(tokens: int, vocabulary: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (1, tokens), generator=generator)


def chunk_ends(tokens: int, chunk: int, boundary: int = 0) -> list[int]:
    """Where a prefill in chunks stops: every `chunk` tokens, at `boundary`
    when that lies between, and at the end."""
    ends = set(range(chunk, tokens, chunk)) | {boundary, tokens}
    return sorted(end for end in ends if 0 < end <= tokens)


class InFloat64(TorchFunctionMode):
    """Has a model of float64 stay there.

    The library's norms and softmax go through float32, where two products of
    other shapes, which differ in the last bit of a double, may round to
    neighbours: a difference of 1e-16 becomes one of 1e-7 now and then.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.to and args[0].dtype is torch.float64:
            if args[1:] == (torch.float32,):
                return args[0]
        if func is torch.nn.functional.softmax:
            if args[0].dtype is torch.float64:
                kwargs = {**kwargs, "dtype": torch.float64}
        return func(*args, **kwargs)


class Feeder:
    """Runs a model on what its cache does not have, and counts it."""

    def __init__(self, model: Any, cache: Any) -> None:
        self.model = model
        self.cache = cache
        self.fed_tokens = 0
        self.calls = 0

    @torch.no_grad()
    def feed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The logits of every token that was fed, [tokens, vocabulary]."""
        ids = input_ids.to(self.model.device)
        self.fed_tokens += ids.shape[1]
        self.calls += 1
        with InFloat64():
            out = self.model(
                input_ids=ids, past_key_values=self.cache, use_cache=True
            )
        return out.logits[0]


class Decoded:
    """What greedy decoding gave."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.logits: list[torch.Tensor] = []  # one row a token

    @property
    def rows(self) -> torch.Tensor:
        return torch.stack(self.logits)

    @property
    def margin(self) -> float:
        """The least distance of a token's logit to the next best."""
        best = self.rows.topk(2, dim=-1).values
        return float((best[:, 0] - best[:, 1]).min())


def decode(
    feeder: Feeder,
    prompt: torch.Tensor,
    cached: int,
    new_tokens: int,
    ends: list[int] | None = None,
    after_step: Callable[[list[int]], None] | None = None,
) -> Decoded:
    """Feeds a prompt from `cached` on (up to each of `ends`, or at once), then
    its likeliest continuation, token by token."""
    result = Decoded()
    stops = [end for end in ends or [] if end > cached]
    first = cached
    for end in stops or [prompt.shape[1]]:
        logits = feeder.feed(prompt[:, first:end])
        first = end
    sequence = prompt[0].tolist()
    for step in range(new_tokens):
        row = logits[-1]
        result.logits.append(row)
        result.tokens.append(int(row.argmax()))
        if after_step is not None:
            after_step(sequence)
        sequence.append(result.tokens[-1])
        if step + 1 < new_tokens:
            logits = feeder.feed(torch.tensor([[result.tokens[-1]]]))
    return result


def split_heads(model: Any, rank: int, ranks: int) -> None:
    """Leaves a model `rank`'s share of the attention heads; each layer's sum
    comes from all ranks (torch.distributed has been set up)."""
    for module in _attentions(model):
        for name, rows in (("q_proj", True), ("k_proj", True),
                           ("v_proj", True), ("o_proj", False)):  # fmt: skip
            layer = getattr(module, name)
            weight = layer.weight.data
            layer.weight.data = (
                weight.chunk(ranks, 0 if rows else 1)[rank].contiguous()
            )
            if layer.bias is not None and rows:
                layer.bias.data = layer.bias.data.chunk(ranks)[rank].clone()
            elif layer.bias is not None:
                # Added once a rank.
                layer.bias.data = layer.bias.data / ranks
        if hasattr(module, "sinks"):
            module.sinks.data = module.sinks.data.chunk(ranks)[rank].clone()
        module.o_proj.register_forward_hook(_sum_over_ranks)


def _sum_over_ranks(
    module: torch.nn.Module, inputs: Any, output: torch.Tensor
) -> torch.Tensor:
    torch.distributed.all_reduce(output)
    return output


def _attentions(model: Any) -> Iterator[torch.nn.Module]:
    for layer in model.model.layers:
        yield layer.self_attn
