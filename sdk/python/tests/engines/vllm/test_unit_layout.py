"""A namespace out of vLLM's own configuration classes."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from kvferry.vllm.config import ConnectorConfig
from kvferry.vllm.spec import (
    NamespaceLayout,
    UnsupportedConfiguration,
    default_name,
    layout_of,
)
from vllm.config import VllmConfig
from vllm.v1.kv_cache_interface import (
    ChunkedLocalAttentionSpec,
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheSpec,
    KVQuantMode,
    MambaSpec,
    MLAAttentionSpec,
    RSWASpec,
    SlidingWindowSpec,
    UniformTypeKVCacheSpecs,
)

from harness.engine import EngineSpec
from harness.models import LLAMA


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@cache
def _vllm_config(directory: Path, tp_size: int, heads: int) -> VllmConfig:
    shape = replace(LLAMA, name=f"llama-{heads}", head_count=heads)
    return EngineSpec(shape=shape, tp_size=tp_size).build(directory)


def full(heads: int = 4, size: int = 16, **more: Any) -> FullAttentionSpec:
    return FullAttentionSpec(
        block_size=16,
        num_kv_heads=heads,
        head_size=size,
        dtype=torch.bfloat16,
        **more,
    )


def window(tokens: int, block: int = 16, **more: Any) -> SlidingWindowSpec:
    return SlidingWindowSpec(
        block_size=block,
        num_kv_heads=4,
        head_size=16,
        dtype=torch.bfloat16,
        sliding_window=tokens,
        **more,
    )


def latent(size: int = 64) -> MLAAttentionSpec:
    return MLAAttentionSpec(
        block_size=16,
        num_kv_heads=1,
        max_tp_shards=1,
        head_size=size,
        dtype=torch.bfloat16,
        cache_dtype_str="auto",
    )


def cache_config(*specs: KVCacheSpec, **group: Any) -> KVCacheConfig:
    return KVCacheConfig(
        num_blocks=100,
        kv_cache_tensors=[],
        kv_cache_groups=[
            KVCacheGroupSpec([f"layer-{i}-a", f"layer-{i}-b"], spec, **group)
            for i, spec in enumerate(specs)
        ],
    )


def layout(
    directory: Path,
    *specs: KVCacheSpec,
    tp_size: int = 1,
    heads: int = 4,
    **config: Any,
) -> NamespaceLayout:
    return layout_of(
        _vllm_config(directory, tp_size, heads),
        cache_config(*specs),
        ConnectorConfig(**config),
    )


def test_one_group(directory: Path) -> None:
    made = layout(directory, full())

    (part,) = made.parts
    assert part.spec.block_tokens == 16
    assert part.spec.layer_count == 2
    assert (part.spec.kv_count, part.spec.head_count) == (1, 4)
    assert part.spec.head_bytes == 2 * 16 * 2  # K and V of one head
    assert (part.spec.rule, part.spec.slice_count) == ("all_prefix", 1)
    assert part.first_block(10_000) == 0
    assert made.slices(part, 0) == (0, 1) and made.writes(part, 0)
    assert made.scheduler_block_tokens == made.hash_block_tokens == 16
    assert made.cryptographic_hash


@pytest.mark.parametrize(
    "tokens, extra, blocks, first",
    [
        (40, 0, 3, 7),
        (33, 0, 2, 8),
        (34, 0, 3, 7),
        (1, 0, 1, 9),
        (40, 10, 4, 6),
    ],
)
def test_a_window_needs_what_vllm_allocates(
    directory: Path, tokens: int, extra: int, blocks: int, first: int
) -> None:
    made = layout(
        directory, full(), window(tokens, extra_retained_tokens=extra)
    )

    part = made.parts[1]
    assert part.spec.rule == "trailing"
    assert part.spec.trailing_blocks == blocks
    assert part.first_block(160) == first


def test_blocks_of_several_hashes(directory: Path) -> None:
    made = layout(directory, full(), window(100, block=32))

    assert [part.hashes_per_block for part in made.parts] == [1, 2]
    assert made.scheduler_block_tokens == 32
    assert made.hash_block_tokens == 16


def test_layers_of_several_sizes_are_several_parts(directory: Path) -> None:
    """Such as MLA with an indexer of its own in one vLLM group."""
    mixed = UniformTypeKVCacheSpecs(
        block_size=16,
        kv_cache_specs={
            "layer-0-a": latent(64),
            "layer-0-b": latent(32),
        },
    )

    made = layout(directory, mixed, tp_size=2)

    assert [part.group for part in made.parts] == [0, 0]
    assert [part.cell_bytes for part in made.parts] == [128, 64]
    assert made.group_count == 1


@pytest.mark.parametrize(
    "heads, tp_size, wanted, slices, of_ranks",
    [
        (4, 2, None, 2, [(0, 1), (1, 1)]),
        (4, 2, 4, 4, [(0, 2), (2, 2)]),
        (4, 1, 4, 4, [(0, 4)]),
        # Fewer heads than ranks: neighbours hold the same.
        (2, 4, None, 2, [(0, 1), (0, 1), (1, 1), (1, 1)]),
        (1, 2, None, 1, [(0, 1), (0, 1)]),
        (2, 4, 4, 2, [(0, 1), (0, 1), (1, 1), (1, 1)]),
    ],
)
def test_slices(
    directory: Path,
    heads: int,
    tp_size: int,
    wanted: int | None,
    slices: int,
    of_ranks: list[tuple[int, int]],
) -> None:
    made = layout(
        directory,
        full(max(1, heads // tp_size)),
        tp_size=tp_size,
        heads=heads,
        slice_count=wanted,
    )

    (part,) = made.parts
    assert part.spec.slice_count == slices
    assert part.spec.head_count * slices == heads
    assert [made.slices(part, r) for r in range(tp_size)] == of_ranks
    writers = [r for r in range(tp_size) if made.writes(part, r)]
    written = sorted(
        first + i
        for first, count in (made.slices(part, r) for r in writers)
        for i in range(count)
    )
    assert written == list(range(slices))  # each by exactly one


def test_latent_attention_is_kept_once(directory: Path) -> None:
    made = layout(directory, latent(), tp_size=4, heads=4)

    (part,) = made.parts
    assert (part.spec.slice_count, part.spec.head_count) == (1, 1)
    assert [made.writes(part, rank) for rank in range(4)] == [
        True,
        False,
        False,
        False,
    ]


def test_quantised_cells_are_opaque(directory: Path) -> None:
    """Codes with their scales: as many bytes as the backend says."""
    made = layout(
        directory,
        full(
            kv_quant_mode=KVQuantMode.INT8_PER_TOKEN_HEAD,
            state_content_bytes=40,
        ),
    )

    assert made.parts[0].cell_bytes == 40
    assert made.dtype != layout(directory, full()).dtype


def test_what_changes_bytes_changes_the_identity(directory: Path) -> None:
    base = layout(directory, full())

    assert layout(directory, full()).dtype == base.dtype
    assert layout(directory, full(2, 32)).dtype != base.dtype
    assert layout(directory, full(), revision="x").revision == "x"


@pytest.mark.parametrize(
    "spec, what",
    [
        (
            ChunkedLocalAttentionSpec(
                block_size=16,
                num_kv_heads=4,
                head_size=16,
                dtype=torch.bfloat16,
                attention_chunk_size=64,
            ),
            "ChunkedLocalAttentionSpec",
        ),
        (
            MambaSpec(
                block_size=16, shapes=((4,),), dtypes=(torch.bfloat16,)
            ),
            "MambaSpec",
        ),
        (
            RSWASpec(
                block_size=16,
                num_kv_heads=4,
                head_size=16,
                dtype=torch.bfloat16,
                rswa_window=64,
            ),
            "RSWASpec",
        ),
        (full(tokens_per_state=4), "tokens_per_state"),
        (full(attention_chunk_size=64), "chunks of 64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_kept_is_named(
    directory: Path, spec: KVCacheSpec, what: str
) -> None:
    with pytest.raises(UnsupportedConfiguration, match=what):
        layout(directory, spec)


def test_groups_that_are_not_transferred_are_refused(
    directory: Path,
) -> None:
    with pytest.raises(UnsupportedConfiguration, match="enable_kv_transfer"):
        layout_of(
            _vllm_config(directory, 1, 4),
            cache_config(full(), enable_kv_transfer=False),
            ConnectorConfig(),
        )


@pytest.mark.parametrize(
    "heads, tp_size, wanted", [(3, 1, 2), (4, 2, 1), (4, 2, 3), (6, 2, 4)]
)
def test_slices_that_do_not_fit_are_refused(
    directory: Path, heads: int, tp_size: int, wanted: int
) -> None:
    with pytest.raises(UnsupportedConfiguration, match="slice_count"):
        layout(
            directory,
            full(heads // tp_size),
            heads=heads,
            tp_size=tp_size,
            slice_count=wanted,
        )


@pytest.mark.parametrize(
    "model, name",
    [
        ("meta-llama/Llama-3", "vllm-meta-llama_Llama-3"),
        ("/models/a b\tc", "vllm-_models_a_b_c"),
        ("x" * 300, "vllm-" + "x" * 123),
        ("é" * 100, "vllm-" + "é" * 61),
    ],
)
def test_the_default_name_can_be_a_name(model: str, name: str) -> None:
    assert default_name(model) == name
    assert len(default_name(model).encode()) <= 128
