"""From a model's configuration to its namespace."""

import pytest
import torch
from tiny_models import build_config
from transformers import (
    DeepseekV3Config,
    Llama4TextConfig,
    MistralConfig,
    Qwen3NextConfig,
)

from kvferry.errors import InvalidArgument, Unimplemented
from kvferry.transformers.spec import cache_spec, namespace_name


def derive(config, **options):
    return cache_spec(
        config, **{"dtype": torch.float64, "model": "tiny", **options}
    )


def test_full_attention_is_one_group_of_the_whole_prefix():
    spec = derive(build_config("llama"))

    (group,) = spec.groups
    assert group.layers == (0, 1, 2, 3)
    assert group.window == 0
    assert group.spec.rule == "all_prefix"
    assert group.spec.layer_count == 4
    assert group.spec.kv_count == 2
    assert group.spec.head_count == 2
    assert group.spec.head_bytes == 16 * 8
    assert group.spec.block_tokens == 16
    assert group.spec.page_bytes == 4 * 2 * 16 * 2 * 16 * 8


def test_sliding_layers_are_a_second_group():
    spec = derive(build_config("gpt-oss"), dtype=torch.bfloat16, slices=2)

    full, sliding = spec.groups
    assert full.layers == (1, 3)
    assert sliding.layers == (0, 2)
    assert sliding.window == 40
    assert sliding.spec.rule == "trailing"
    assert sliding.spec.layer_count == 2
    assert sliding.spec.head_count == 1
    assert sliding.spec.slice_count == 2
    assert sliding.spec.head_bytes == 16 * 2


@pytest.mark.parametrize(
    ("window", "block_tokens", "blocks"),
    [(40, 16, 3), (32, 16, 2), (33, 16, 3), (17, 16, 2), (16, 16, 1),
     (128, 16, 8), (2, 16, 1), (40, 64, 1)],
)  # fmt: skip
def test_trailing_blocks_cover_the_window(window, block_tokens, blocks):
    spec = derive(
        build_config("gpt-oss", sliding_window=window),
        block_tokens=block_tokens,
    )

    assert spec.groups[1].spec.trailing_blocks == blocks


def test_a_model_of_sliding_layers_has_one_group():
    config = MistralConfig(
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        hidden_size=64, sliding_window=24,
    )  # fmt: skip

    (group,) = derive(config).groups

    assert group.number == 0
    assert group.spec.rule == "trailing"
    assert group.spec.head_bytes == 16 * 8


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            Llama4TextConfig(
                num_hidden_layers=4, hidden_size=64, num_attention_heads=4,
                num_key_value_heads=2, num_local_experts=2,
            ),
            "layer 0 is of type 'chunked_attention'",
        ),
        (
            Qwen3NextConfig(num_hidden_layers=4, hidden_size=64),
            "layer 0 is of type 'linear_attention'",
        ),
        (
            DeepseekV3Config(num_hidden_layers=2, hidden_size=64),
            "layer 0 is of type 'multi-head latent attention'",
        ),
        (
            build_config(
                "llama",
                layer_types=["full_attention"] * 3 + ["sliding_attention"],
                sliding_window=1,
            ),
            "layer 3 is of type 'sliding_attention' with a window of 1",
        ),
    ],
)  # fmt: skip
def test_other_layers_are_refused_by_name(config, text):
    with pytest.raises(Unimplemented, match=text):
        derive(config)


def test_layers_of_a_group_must_be_alike():
    config = build_config(
        "llama", per_layer_config={2: {"num_key_value_heads": 4}}
    )

    with pytest.raises(Unimplemented, match="layer 2 has 4 KV heads of 16"):
        derive(config)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"slices": 3}, "slices 3 do not divide 2 KV heads"),
        ({"slices": 0}, "slices 0"),
        ({"block_tokens": 0}, "block_tokens 0"),
        ({"model": ""}, "model is empty"),
        ({"dtype": "float64"}, "dtype 'float64' is no torch.dtype"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(InvalidArgument, match=text):
        derive(build_config("llama"), **options)


# Goal    Two models whose K and V differ do not meet, also when nobody names a
#         revision; who loads the same one for another element type still meets
#         it by dtype only.
def test_the_revision_follows_from_the_configuration():
    plain = derive(build_config("llama")).revision
    same = derive(build_config("llama"), dtype=torch.bfloat16).revision
    other = derive(build_config("llama", rope_theta=5e5, rms_norm_eps=1e-5))

    assert plain.startswith("config-")
    assert same == plain
    assert other.revision != plain


def test_a_loaded_model_names_itself():
    config = build_config("llama")
    config._name_or_path = "somebody/some model:8B"
    config._commit_hash = "0123abc"

    spec = cache_spec(config, dtype=torch.float64)

    assert spec.model == "somebody/some model:8B"
    assert spec.revision == "0123abc"
    assert spec.name == "somebody-some-model-8B"
    assert namespace_name("///") == "transformers"
