"""Waiting for a condition, with an end."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], bool], what: str, timeout: float = 10.0
) -> None:
    """Looks until `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not happen in {timeout} s")
        time.sleep(0.001)
