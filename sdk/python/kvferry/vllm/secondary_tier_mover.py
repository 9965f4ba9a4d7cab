"""Turns the transfers that vLLM asks of the tier into jobs, and their ends into
the results that vLLM expects."""

import time
from collections.abc import Callable, Collection

import numpy as np
from kvferry import Client, GroupSpec, PagedLayer, PagedMemory, Prefix
from kvferry.vllm.secondary_tier_jobs import Job, JobPool
from kvferry.vllm.secondary_tier_link import Link
from kvferry.vllm.secondary_tier_metrics import (
    LOAD_BLOCKS,
    STORE_BLOCKS,
    Counters,
)
from kvferry.vllm.secondary_tier_transfer import (
    GOOD_STORES,
    Transfer,
    load_rows,
    store_rows,
)
from vllm.v1.kv_offload.base import OffloadKey
from vllm.v1.kv_offload.tiering.base import JobResult, TransferJob

# What a running copy may take beyond its job's deadline at shutdown.
_STOP_MARGIN_S = 10.0

# An engine's key as KVFerry's, or None for what is no key.
NameOf = Callable[[Client, OffloadKey], bytes | None]


class Mover:
    """Life cycle  1. Mover   2. store, load, take_results, at will   3. stop

    Threads  one at a time (the scheduler's); the work is on the pool's.
    """

    def __init__(
        self,
        link: Link,
        view: memoryview,
        group: GroupSpec,
        name_of: NameOf,
        counters: Counters,
        *,
        threads: int,
        job_timeout_s: float,
        store_queue_blocks: int,
    ) -> None:
        assert view.shape is not None
        self._link = link
        self._memory = _paged(view, group)
        self._row_bytes = view.shape[1]
        self._name_of = name_of
        self._counters = counters
        self._job_timeout_s = job_timeout_s
        # Loads have their rows already, so there are never more than rows.
        self._pool = JobPool(threads, view.shape[0], store_queue_blocks)

    def store(self, job: TransferJob) -> None:
        keys, rows = list(job.keys), [int(row) for row in job.chunk_ids]
        deadline = time.monotonic() + self._job_timeout_s

        def run() -> JobResult:
            begun = time.monotonic()
            transfer = self._store(keys, rows, deadline)
            return self._stored(job, transfer, time.monotonic() - begun)

        def give_up(why: str) -> JobResult:
            return self._stored(job, _all(why, keys), 0.0)

        self._pool.push_store(Job(len(keys), deadline, run, give_up))

    def load(
        self,
        job: TransferJob,
        pins: list[Prefix | None],
        failed: set[OffloadKey],
    ) -> None:
        """Takes the pins over. Before the job's result is out, `failed` has
        the keys whose rows are not whole."""
        keys, rows = list(job.keys), [int(row) for row in job.chunk_ids]
        deadline = time.monotonic() + self._job_timeout_s

        def run() -> JobResult:
            begun = time.monotonic()
            transfer = self._load(keys, pins, rows, deadline)
            took = time.monotonic() - begun
            return self._loaded(job, keys, failed, transfer, took)

        def give_up(why: str) -> JobResult:
            for pin in pins:
                if pin is not None:
                    pin.release()
            return self._loaded(job, keys, failed, _all(why, keys), 0.0)

        self._pool.push_load(Job(len(keys), deadline, run, give_up))

    def take_results(self) -> list[JobResult]:
        return self._pool.take_results()

    @property
    def waiting_blocks(self) -> int:
        return self._pool.waiting_blocks

    def drain(self) -> None:
        self._pool.drain()

    def stop(self) -> None:
        """Idempotent.

        Raises RuntimeError when a copy does not end: the memory that it copies
        from or to must stay.
        """
        patience = self._job_timeout_s + _STOP_MARGIN_S
        if not self._pool.stop(patience):
            raise RuntimeError(
                f"kvferry tier: a transfer still runs {patience} s after "
                "shutdown began"
            )

    def _store(
        self, keys: list[OffloadKey], rows: list[int], deadline: float
    ) -> Transfer:
        client = self._link.client()
        if client is None:
            return _all(self._link.why_none(), keys)
        names = [self._name_of(client, key) for key in keys]
        good = [i for i, name in enumerate(names) if name is not None]
        transfer = Transfer()
        if good:
            transfer = store_rows(
                client,
                self._memory,
                [names[i] or b"" for i in good],
                [rows[i] for i in good],
                self._row_bytes,
                deadline,
            )
        transfer.count("bad_key", len(keys) - len(good))
        return transfer

    def _load(
        self,
        keys: list[OffloadKey],
        pins: list[Prefix | None],
        rows: list[int],
        deadline: float,
    ) -> Transfer:
        client = self._link.client()
        names = [
            None if client is None else self._name_of(client, key)
            for key in keys
        ]
        return load_rows(client, self._memory, names, pins, rows, deadline)

    def _stored(
        self, job: TransferJob, transfer: Transfer, seconds: float
    ) -> JobResult:
        self._report("store", STORE_BLOCKS, transfer)
        return JobResult(
            job_id=job.job_id,
            success=GOOD_STORES.issuperset(transfer.counts),
            transfer_time=seconds,
        )

    def _loaded(
        self,
        job: TransferJob,
        keys: list[OffloadKey],
        failed: set[OffloadKey],
        transfer: Transfer,
        seconds: float,
    ) -> JobResult:
        self._report("load", LOAD_BLOCKS, transfer)
        whole = {keys[position] for position in transfer.whole}
        failed.update(key for key in keys if key not in whole)
        return JobResult(
            job_id=job.job_id,
            success=len(whole) == len(keys),
            successful_keys=tuple(whole),
            transfer_time=seconds,
        )

    def _report(self, what: str, metric: str, transfer: Transfer) -> None:
        for label, blocks in transfer.counts.items():
            self._counters.add(metric, label, blocks)
        if transfer.failure is not None:
            self._link.failed(what, transfer.failure)
        elif "stored" in transfer.counts:
            self._link.answered()


def _paged(view: memoryview, group: GroupSpec) -> PagedMemory:
    """The primary tier as an engine's paged memory. Its address only: vLLM
    releases the view itself, after the tier's shutdown, and a view that is
    exported cannot be."""
    assert view.shape is not None
    rows, row_bytes = view.shape
    layer = PagedLayer(
        np.frombuffer(view, dtype=np.uint8).ctypes.data,
        block_stride=row_bytes,
        token_stride=row_bytes,
        head_stride=row_bytes,
    )
    return PagedMemory(group, [layer], rows)


def _all(label: str, keys: Collection[OffloadKey]) -> Transfer:
    transfer = Transfer()
    transfer.count(label, len(keys))
    return transfer
