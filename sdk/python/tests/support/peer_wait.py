"""Waiting without a guess at how long something takes."""

import os
import random
import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.001


def eventually(condition: Callable[[], object], timeout: float = 20.0) -> bool:
    """Looks again until `condition` holds. False: `timeout` passed first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def seeded(default: int) -> random.Random:
    """Random numbers from $KVFERRY_SEED, or from `default`. Says which: pytest
    shows it with a failure."""
    seed = int(os.environ.get("KVFERRY_SEED", default))
    print(f"KVFERRY_SEED={seed}")
    return random.Random(seed)
