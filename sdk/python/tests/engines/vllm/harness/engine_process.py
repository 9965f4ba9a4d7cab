"""An engine in a process of its own: python -m harness.engine_process JOB,
a JSON file. Its answer is a line of JSON on standard output."""

import json
import sys
from pathlib import Path
from typing import Any

import harness.environment  # noqa: F401
from harness.engine import Engine, EngineSpec
from harness.models import HYBRID, LATENT, LLAMA

SHAPES = {shape.name: shape for shape in (LLAMA, HYBRID, LATENT)}


def run(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Each of job["runs"]: a shape and prompts, on an engine of its own."""
    answers = []
    for each in job["runs"]:
        spec = EngineSpec(
            shape=SHAPES[each["shape"]],
            connector=each["connector"],
            **each.get("spec", {}),
        )
        with Engine(spec, Path(job["models"])) as engine:
            tokens = engine.generate(each["prompts"], each["max_tokens"])
            answers.append(
                {
                    "tokens": tokens,
                    "external": engine.external_tokens(tokens),
                    "computed": engine.computed_tokens,
                    "deviations": engine.deviations(),
                }
            )
    return answers


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    print(json.dumps(run(given)))
