"""What a benchmark says: one row a figure, its goal beside it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class NotMeasured(Exception):
    """What a benchmark needs is not there; the text says what."""


@dataclass
class Row:
    """`figure` is better when it is small (`at_most`) or large (`at_least`)."""

    bench: str
    name: str
    figure: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    # What else was seen, in the order to print it.
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool | None:
        """None without a goal."""
        if self.at_most is not None:
            return self.figure <= self.at_most
        if self.at_least is not None:
            return self.figure >= self.at_least
        return None

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return ""

    def json(self) -> str:
        content = {
            "bench": self.bench,
            "name": self.name,
            "figure": _rounded(self.figure),
            "unit": self.unit,
            "goal": self.goal or None,
            "good": self.good,
            **{name: _rounded(value) for name, value in self.more.items()},
        }
        return json.dumps(content)

    def line(self) -> str:
        verdict = {None: "", True: "ok", False: "SHORT"}[self.good]
        more = ", ".join(
            f"{name} {_rounded(value)}" for name, value in self.more.items()
        )
        return (
            f"{self.bench:<6} {self.name:<34} {_rounded(self.figure):>9} "
            f"{self.unit:<5} {self.goal:<9} {verdict:<6} {more}"
        )


HEADER = (
    f"{'bench':<6} {'what':<34} {'figure':>9} {'unit':<5} {'goal':<9} "
    f"{'':<6} beside it"
)


def _rounded(value: Any) -> Any:
    """Four digits: more than any of these is worth."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)
