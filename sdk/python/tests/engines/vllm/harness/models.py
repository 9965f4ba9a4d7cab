"""Tiny models: what a configuration file says of them, and their layers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """A model's KV geometry. `windows` has an entry a layer: None for full
    attention, else the sliding window's tokens."""

    name: str
    windows: tuple[int | None, ...]
    head_count: int = 4
    head_size: int = 16
    dtype: str = "bfloat16"
    latent: int = 0  # bytes of multi-head latent attention: its rank, or 0
    vocabulary: int = 50_000

    @property
    def is_latent(self) -> bool:
        return self.latent > 0

    def layer_names(self) -> list[str]:
        return [
            f"model.layers.{layer}.self_attn.attn"
            for layer in range(len(self.windows))
        ]

    def config(self) -> dict[str, Any]:
        # Every rank has a query head, also where KV heads are fewer.
        query_heads = max(4, self.head_count)
        common = {
            "vocab_size": self.vocabulary,
            "hidden_size": query_heads * self.head_size,
            "intermediate_size": 64,
            "num_hidden_layers": len(self.windows),
            "num_attention_heads": query_heads,
            "num_key_value_heads": self.head_count,
            "head_dim": self.head_size,
            "max_position_embeddings": 65_536,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "torch_dtype": self.dtype,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        if self.is_latent:
            return common | {
                "architectures": ["DeepseekV2ForCausalLM"],
                "model_type": "deepseek_v2",
                "kv_lora_rank": self.latent,
                "q_lora_rank": None,
                "qk_rope_head_dim": 16,
                "qk_nope_head_dim": 16,
                "v_head_dim": 16,
                "n_routed_experts": 2,
                "n_shared_experts": 1,
                "first_k_dense_replace": len(self.windows),
            }
        if any(window is not None for window in self.windows):
            return common | {
                "architectures": ["GptOssForCausalLM"],
                "model_type": "gpt_oss",
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "sliding_window": next(w for w in self.windows if w),
                "layer_types": [
                    "full_attention" if w is None else "sliding_attention"
                    for w in self.windows
                ],
            }
        return common | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "tie_word_embeddings": False,
        }

    def write(self, directory: Path) -> Path:
        """The model's directory: a configuration, no weights."""
        model = directory / self.name
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text(json.dumps(self.config()))
        return model


LLAMA = ModelShape("llama", (None, None, None))
HYBRID = ModelShape("hybrid", (40, None, 40, None))
LATENT = ModelShape("latent", (None, None), latent=48)
