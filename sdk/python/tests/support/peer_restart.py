"""Clients that go on while the daemon comes and goes."""

import random
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import kvferry
from kvferry.errors import (
    Aborted,
    DeadlineExceeded,
    ResourceExhausted,
    Unavailable,
)

from support.rank_payload import block_bytes, is_page, split_keys

GROUP = kvferry.GroupSpec(kv_count=1, head_bytes=256, slice_count=2)
PROMPTS = 24
PROMPT_BLOCKS = 6


def attach(socket_path: str, name: str) -> kvferry.Client:
    return kvferry.Client(
        "restart",
        groups=[GROUP],
        model="restart",
        socket_path=socket_path,
        client_name=name,
    )


def prompt_keys(client: kvferry.Client, prompt: int) -> bytes:
    tokens = [prompt * 1_000_003 + i for i in range(16 * PROMPT_BLOCKS)]
    return client.hasher().hash_blocks(
        memoryview(b"".join(t.to_bytes(4, "little") for t in tokens)).cast("I")
    )


def publish(client: kvferry.Client, keys: bytes) -> int:
    return client.publish(
        keys,
        [
            block_bytes(key, GROUP.slice_count, GROUP.page_bytes)
            for key in split_keys(keys)
        ],
    )


@dataclass
class Counts:
    """What a process has done so far; written by its threads."""

    hits: int = 0
    published: int = 0
    unavailable: int = 0
    void: int = 0
    wrong: list[str] = field(default_factory=list)


class Worker:
    """Threads of one process with one client: each matches a random prompt and
    checks every byte of it, or publishes what is missing."""

    def __init__(self, socket_path: str, name: str, threads: int) -> None:
        self.client = attach(socket_path, name)
        # One for each thread, so that no count is lost.
        self.counts = [Counts() for _ in range(threads)]
        self._keys = [prompt_keys(self.client, p) for p in range(PROMPTS)]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(counts, random.Random(f"{name} {i}"))
            )
            for i, counts in enumerate(self.counts)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.client.close()

    def total(self) -> Counts:
        total = Counts()
        for one in self.counts:
            total.hits += one.hits
            total.published += one.published
            total.unavailable += one.unavailable
            total.void += one.void
            total.wrong += one.wrong
        return total

    def _run(self, counts: Counts, numbers: random.Random) -> None:
        try:
            while not self._stop.is_set():
                keys = numbers.choice(self._keys)
                if self._read(counts, keys) < PROMPT_BLOCKS:
                    self._write(counts, keys)
                if numbers.random() < 0.25:
                    # Also when all is there: who asks has to be told.
                    self._write(counts, keys)
        # The thread's end is seen by what it says here.
        except Exception as error:  # noqa: BLE001
            counts.wrong.append(f"{type(error).__name__}: {error}")

    def _read(self, counts: Counts, keys: bytes) -> int:
        names = split_keys(keys)
        with self.client.match(keys) as prefix:
            count = prefix.block_count()
            right = all(
                is_page(prefix.page(position, s), names[position], s)
                for position in range(count)
                for s in range(GROUP.slice_count)
            )
            try:
                prefix.check()
            except Aborted:
                return 0
        if not right:
            counts.wrong.append("wrong bytes in a hit")
        counts.hits += count
        return count

    def _write(self, counts: Counts, keys: bytes) -> None:
        try:
            counts.published += publish(self.client, keys)
        except Unavailable:
            counts.unavailable += 1
        except (Aborted, DeadlineExceeded, ResourceExhausted):
            counts.void += 1


# --- of another process ------------------------------------------------------


def start(
    state: SimpleNamespace, socket_path: str, name: str, threads: int
) -> None:
    state.worker = Worker(socket_path, name, threads)


def connected(state: SimpleNamespace) -> bool:
    return state.worker.client.connected


def total(state: SimpleNamespace) -> Counts:
    return state.worker.total()


def stop(state: SimpleNamespace) -> Counts:
    state.worker.stop()
    return state.worker.total()
