"""Moving rows between the engine's primary tier and KVFerry's memory.

All of it runs on the tier's threads. The bytes are copied by the SDK, without
the interpreter's lock.
"""

import array
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from kvferry import Client, PagedMemory, Prefix, errors

# What one begin takes at most: the daemon makes room while the last run is
# copied, and a deadline is looked at between two.
_RUN_BLOCKS_MAX = 256
_RUN_BYTES = 32 << 20

# By the bytes of Publication.outcomes (kvferry.OUTCOMES).
_LABELS = (
    "void",  # writing still: its commit never came
    "stored",
    "exists",
    "in_flight",
    "no_space",
    "void",
    "void",  # standby: never asked for
)
# What makes a store a success: the block is there, or another engine writes
# it at this moment.
GOOD_STORES = frozenset(("stored", "exists", "in_flight"))


@dataclass
class Transfer:
    """What became of a job's blocks, by label; of a load, which are whole.
    `failure` is the first error, if any."""

    counts: dict[str, int] = field(default_factory=dict)
    whole: list[int] = field(default_factory=list)
    failure: errors.Error | None = None

    def count(self, label: str, blocks: int = 1) -> None:
        if blocks:
            self.counts[label] = self.counts.get(label, 0) + blocks


def store_rows(
    client: Client,
    memory: PagedMemory,
    keys: Sequence[bytes],
    rows: Sequence[int],
    row_bytes: int,
    deadline: float,
) -> Transfer:
    """Publishes row i of `memory` under key i, in runs. What is there already,
    or being written by another engine, is not written again."""
    transfer = Transfer()
    run_blocks = max(1, min(_RUN_BLOCKS_MAX, _RUN_BYTES // row_bytes))
    at = 0
    try:
        # Without a standby: a copy that would only serve if the other writer
        # failed is not worth the memory.
        with client.open_publication(standby=False) as publication:
            while at < len(keys):
                left = deadline - time.monotonic()
                if left <= 0:
                    transfer.count("too_late", len(keys) - at)
                    return transfer
                part = keys[at : at + run_blocks]
                first = publication.begin(b"".join(part), timeout=left)
                publication.fill(
                    first, memory, array.array("q", rows[at : at + len(part)])
                )
                publication.commit_and_wait(
                    first,
                    len(part),
                    timeout=max(0.0, deadline - time.monotonic()),
                )
                for outcome in publication.outcomes(first, len(part)):
                    transfer.count(_LABELS[outcome])
                at += len(part)
    except errors.Error as error:
        transfer.failure = error
        transfer.count(_failure_label(error), len(keys) - at)
    return transfer


def load_rows(
    client: Client | None,
    memory: PagedMemory,
    keys: Sequence[bytes | None],
    pins: Sequence[Prefix | None],
    rows: Sequence[int],
    deadline: float,
) -> Transfer:
    """Copies the block of key i into row i of `memory`, from `pins` or, where
    there is none, from what the index has now. Every pin is released. A block
    whose pin does not stand after its copy is not whole."""
    transfer = Transfer()
    row = array.array("q", [0])
    for position, (key, pinned) in enumerate(zip(keys, pins, strict=True)):
        try:
            if time.monotonic() >= deadline:
                transfer.count("too_late")
                continue
            prefix = pinned
            if prefix is None and client is not None and key is not None:
                prefix = client.match(key)
            if not prefix:
                transfer.count("gone")
                continue
            with prefix:
                row[0] = rows[position]
                prefix.copy_to(memory, row)
            transfer.count("loaded")
            transfer.whole.append(position)
        except errors.Aborted as error:
            transfer.failure = transfer.failure or error
            transfer.count("revoked")
        except errors.Error as error:
            transfer.failure = transfer.failure or error
            transfer.count("error")
        finally:
            if pinned is not None:
                pinned.release()
    return transfer


def _failure_label(error: errors.Error) -> str:
    if isinstance(error, errors.Unavailable):
        return "away"
    if isinstance(error, errors.DeadlineExceeded):
        return "too_late"
    return "error"
