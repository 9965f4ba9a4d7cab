"""The harness itself: without a connector and with vLLM's example."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vllm.config import KVTransferConfig

from harness.engine import Engine, EngineSpec
from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.references import References

PROMPTS = family(1, 70, (0, 10, 90, 200)) | {"other": prompt(2, 150)}


@pytest.mark.parametrize("shape", [LLAMA, HYBRID, LATENT], ids=lambda s: s.name)
@pytest.mark.parametrize(
    "change",
    [
        {"local_cache": False},
        {"blocks": 60, "max_tokens": 440},  # preempts
        {"blocks": 60, "max_tokens": 400, "ahead": True},
        {"second_runner": True, "chunk_tokens": 64},
        {"layout": "BLHNC", "chunk_tokens": 48},
        {"layout": "LBNHC", "tp_size": 2},
        {"kernel_block_tokens": 8},
    ],
    ids=lambda c: "-".join(c),
)
def test_outputs_do_not_depend_on_scheduling(
    shape: ModelShape,
    change: dict[str, Any],
    models: Path,
    references: References,
) -> None:
    with Engine(EngineSpec(shape=shape, **change), models) as engine:
        tokens = engine.generate(PROMPTS, 12)

        assert tokens == references.tokens(PROMPTS, 12, shape)
        assert engine.deviations() == []


def test_a_wrong_page_changes_the_tokens(
    models: Path, references: References
) -> None:
    """One bit of one page of a sliding window, in one rank's last head."""
    text = {"a": prompt(3, 100)}
    with Engine(EngineSpec(shape=HYBRID, tp_size=2), models) as engine:
        engine.generate(text, 1)
        runner = engine.workers[1].runner
        layer = runner.layers[2]
        for block in range(1, engine.spec.blocks):
            runner.pages._views[layer][block, -1, -1, -1] ^= 1
        tokens = engine.generate({"b": text["a"]}, 4)

        assert engine.outputs["b"].cached_tokens > 0
        assert tokens["b"] != references.tokens(text, 4, HYBRID)["a"]
        # In every step; what follows from it is not told again.
        assert set(engine.deviations()) == {("b", layer)}


def test_few_blocks_preempt(models: Path) -> None:
    """So that the tests above and below mean what they say."""
    spec = EngineSpec(blocks=40, max_tokens=400, reserve_whole=False)
    texts = {f"r{i}": prompt(10 + i, 120) for i in range(5)}
    with Engine(spec, models) as engine:
        for name, text in texts.items():
            engine.add(name, text, 60)
        preempted: set[str] = set()
        engine.before_step = lambda output: preempted.update(
            output.preempted_req_ids or ()
        )
        engine.run()

        assert preempted


@pytest.mark.parametrize("second_runner", [False, True])
def test_vllms_example_connector(
    second_runner: bool,
    models: Path,
    references: References,
    tmp_path: Path,
) -> None:
    """Saves and loads through files: the order of its calls is vLLM's, its
    outputs are equal, and its hits save work."""
    from harness import recording

    spec = EngineSpec(
        transfer=KVTransferConfig(
            kv_connector="RecordingConnector",
            kv_connector_module_path="harness.recording",
            kv_role="kv_both",
            kv_connector_extra_config={"shared_storage_path": str(tmp_path)},
        ),
        extra={"disable_hybrid_kv_cache_manager": True},
        second_runner=second_runner,
    )
    text = {"a": prompt(4, 120)}
    with Engine(spec, models) as engine:
        cold = engine.generate(text, 3)
        cold_computed = engine.computed_tokens
        engine.forget()
        recording.CALLS.clear()
        warm = engine.generate({"b": text["a"]}, 1)
        calls = list(recording.CALLS)

        assert cold == references.tokens(text, 3)
        assert warm["b"] == cold["a"][:1]
        assert engine.outputs["b"].external_tokens == 112
        assert engine.computed_tokens - cold_computed == 120 - 112
        assert engine.deviations() == []
    worker = [name for role, name in calls if role == "WORKER"]
    order = [
        "handle_preemptions",
        "bind_connector_metadata",
        "start_load_kv",
        "wait_for_layer_load",
        "save_kv_layer",
        "wait_for_save",
        "get_transfer_results",
        "get_block_ids_with_load_errors",
        "clear_connector_metadata",
    ]
    positions = [worker.index(name) for name in order]
    assert positions == sorted(positions)
    assert worker.count("save_kv_layer") == len(LLAMA.windows)
    scheduler = [name for role, name in calls if role == "SCHEDULER"]
    assert scheduler[:4] == [
        "on_new_request",
        "get_num_new_matched_tokens",
        "update_state_after_alloc",
        "build_connector_meta",
    ]


def test_ranks_split_the_heads(models: Path, references: References) -> None:
    spec = replace(EngineSpec(), tp_size=4)
    with Engine(spec, models) as engine:
        assert [w.runner.heads for w in engine.workers] == [
            range(i, i + 1) for i in range(4)
        ]
        assert engine.generate(PROMPTS) == references.tokens(PROMPTS)
