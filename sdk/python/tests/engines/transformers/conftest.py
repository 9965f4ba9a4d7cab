"""Fixtures of the transformers tests: two engine processes."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
EXAMPLE = _HERE.parents[2] / "examples" / "transformers"
sys.path[:0] = [str(_HERE), str(EXAMPLE)]

# For the processes that are started from here as well: one thread computes
# alike in each.
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402
from engine_process import engine_peer  # noqa: E402
from support.peer_process import Peer  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def example() -> Path:
    """The folder of the example's programs."""
    return EXAMPLE


@pytest.fixture(scope="session")
def prefill_process() -> Iterator[Peer]:
    with engine_peer("prefill") as peer:
        yield peer


@pytest.fixture(scope="session")
def decode_process() -> Iterator[Peer]:
    with engine_peer("decode") as peer:
        yield peer
