"""Failures of the cache, which for the engine are misses."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kvferry.errors import Error

log = logging.getLogger("kvferry.transformers")


@dataclass
class Stats:
    """Counted since the object was made."""

    hits: int = 0
    misses: int = 0
    restored_tokens: int = 0
    # Of publishing, in blocks of any group.
    published_blocks: int = 0  # written and committed here
    present_blocks: int = 0  # were there, or another writes them
    unpublished_blocks: int = 0  # no space, or void
    # Never begun: a sliding layer had let go of their tokens. After a restore
    # most of them were there.
    dropped_blocks: int = 0
    # By "operation: CODE"; with `strict` they were raised.
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def failure_count(self) -> int:
        return sum(self.failures.values())


class Misses:
    """Turns kvferry's errors into misses: counted, and each kind logged once.

    Threads  any number at once
    """

    def __init__(self, strict: bool) -> None:
        self.stats = Stats()
        self._strict = strict
        self._lock = threading.Lock()

    @contextmanager
    def caught(self, operation: str) -> Iterator[None]:
        """Swallows a kvferry.Error of the block, unless strict."""
        try:
            yield
        except Error as error:
            self.note(operation, error)
            if self._strict:
                raise

    def note(self, operation: str, error: Error) -> None:
        kind = f"{operation}: {error.code}"
        with self._lock:
            count = self.stats.failures.get(kind, 0) + 1
            self.stats.failures[kind] = count
        if self._strict:
            return
        if count == 1:
            log.warning(
                "%s failed, going on without the cache (said once): %s: %s",
                operation, error.code, error,
            )  # fmt: skip
        else:
            log.debug("%s failed again: %s: %s", operation, error.code, error)

    def count(self, **amounts: int) -> None:
        """Adds to the statistics' fields."""
        with self._lock:
            for name, amount in amounts.items():
                amount += getattr(self.stats, name)
                setattr(self.stats, name, amount)
