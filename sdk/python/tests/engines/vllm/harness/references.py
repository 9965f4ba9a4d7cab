"""What engines without a cache give."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.engine import Engine, EngineSpec
from harness.models import LLAMA, ModelShape


class References:
    """Outputs of engines without a connector; one engine a shape, kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._engines: dict[tuple[ModelShape, int], Engine] = {}
        self._known: dict[tuple[Any, ...], list[int]] = {}
        self._names = itertools.count()

    def tokens(
        self,
        prompts: Mapping[str, Sequence[int]],
        max_tokens: int = 4,
        shape: ModelShape = LLAMA,
        weights: int = 1,
    ) -> dict[str, list[int]]:
        engine = self._engine(shape, weights)
        wanted: dict[str, tuple[Any, ...]] = {}
        runs: dict[str, Sequence[int]] = {}
        for name, prompt in prompts.items():
            key = (shape, weights, max_tokens, tuple(prompt))
            wanted[name] = key
            if key not in self._known:
                self._known[key] = []
                runs[f"{next(self._names)}"] = prompt
        for name, tokens in engine.generate(runs, max_tokens).items():
            key = (shape, weights, max_tokens, tuple(runs[name]))
            self._known[key] = tokens
        return {name: self._known[key] for name, key in wanted.items()}

    def _engine(self, shape: ModelShape, weights: int) -> Engine:
        found = self._engines.get((shape, weights))
        if found is None:
            spec = EngineSpec(
                shape=shape, blocks=4000, chunk_tokens=2048, max_tokens=2048
            )
            found = Engine(spec, self._directory)
            for worker in found.workers:
                worker.set_weights(weights)
            self._engines[shape, weights] = found
        return found

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
