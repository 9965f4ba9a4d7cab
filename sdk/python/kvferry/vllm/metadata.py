"""What the two sides of the connector tell each other, once a step.

Keys are packed, 16 bytes each; block ids are packed int64, one a key, so that
2,048 blocks are two buffers to pickle and not 2,048 objects.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

KEY_BYTES = 16
ID_BYTES = 8
# The SDK's limit of one match, begin or ticket.
KEYS_MAX = 16_384

# vLLM's null block: what is out of a window stands in it.
NULL_BLOCK = 0
# A block that copies skip.
NO_BLOCK = -1


def pack_ids(ids: Sequence[int]) -> bytes:
    # A third of the time that an array takes.
    return struct.pack(f"={len(ids)}q", *ids)


def unpack_ids(ids: bytes) -> "array[int]":
    return array("q", ids)


def as_int64(ids: bytes) -> memoryview:
    """As the SDK takes them."""
    return memoryview(ids).cast("q")


@dataclass(slots=True)
class PartBlocks:
    """Neighbouring blocks of one part: their keys, their engine blocks."""

    part: int
    keys: bytes
    block_ids: bytes

    def __len__(self) -> int:
        return len(self.keys) // KEY_BYTES


@dataclass(slots=True)
class LoadRequest:
    """What to bring into a request's blocks."""

    request_id: str
    parts: list[PartBlocks]


@dataclass(slots=True)
class SaveEntry:
    """Full blocks of a request that the step completes."""

    request_id: str
    blocks: PartBlocks
    parent: bytes  # the key before the first; empty at a prompt's start


@dataclass
class KVFerryMetadata(KVConnectorMetadata):
    """Scheduler to worker.

    Every worker does the saves of a job in their order, as one publication
    that they join by (engine_instance, job): so a job is all that a fault of
    one worker can spoil.
    """

    step: int = 0
    engine_instance: int = 0
    job: int = 0  # of the saves; counts up, 0: none
    loads: list[LoadRequest] = field(default_factory=list)
    saves: list[SaveEntry] = field(default_factory=list)
    # The step returns only when this job is committed; 0: none.
    commit_job: int = 0
    # The step may overwrite blocks that jobs up to this one read: what is not
    # done before its forward is given up; 0: none.
    fence_job: int = 0
    # Jobs before this one are given up: the weights have changed since.
    first_valid_job: int = 0


@dataclass
class KVFerryWorkerMetadata(KVConnectorWorkerMetadata):
    """Worker to scheduler; only what has changed since the last."""

    # By rank: the last job that is done, all before it too.
    done_jobs: dict[int, int] = field(default_factory=dict)
    # By rank: the last step whose metadata was taken in.
    steps: dict[int, int] = field(default_factory=dict)
    # (job, index of the entry) of saves that are not wholly visible.
    lost_saves: set[tuple[int, int]] = field(default_factory=set)
    failed_loads: set[str] = field(default_factory=set)

    def aggregate(
        self, other: KVConnectorWorkerMetadata
    ) -> KVConnectorWorkerMetadata:
        assert isinstance(other, KVFerryWorkerMetadata)
        return KVFerryWorkerMetadata(
            _later(self.done_jobs, other.done_jobs),
            _later(self.steps, other.steps),
            self.lost_saves | other.lost_saves,
            self.failed_loads | other.failed_loads,
        )


def _later(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    """Of two outputs of one rank, the later one counts."""
    merged = dict(one)
    for rank, value in other.items():
        merged[rank] = max(value, merged.get(rank, value))
    return merged
