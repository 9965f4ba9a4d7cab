"""What a call costs that has hardly anything to do: the binding's own share.
No goals."""

import time
from collections.abc import Callable, Iterator

import kvferry
import numpy as np
from options import Options
from row import Row, median
from stage import measuring_processor, running_daemon

_GROUP_CALLS = 100


def run(opts: Options) -> Iterator[Row]:
    group = kvferry.GroupSpec(kv_count=1, head_bytes=256)
    with (
        running_daemon("128 MiB") as daemon,
        kvferry.Client(
            "bench", groups=[group], socket_path=daemon.socket_path
        ) as client,
        measuring_processor(),
    ):
        rounds = opts.rounds(200, 20)
        for name, call, calls in _calls(client, group, daemon.socket_path):
            samples = _measure(call, calls, max(3, rounds * calls // 100))
            yield Row(
                "calls", name, median(samples), "ns",
                more={"min_ns": min(samples)},
            )  # fmt: skip


def _measure(
    call: Callable[[], object], calls: int, rounds: int
) -> list[float]:
    """Nanoseconds a call, less those of a call that does nothing."""
    samples = []
    for round_number in range(rounds + 1):
        empty = _time(_nothing, calls)
        taken = _time(call, calls)
        if round_number > 0:
            samples.append((taken - empty) / calls)
    return samples


def _time(call: Callable[[], object], calls: int) -> int:
    begin = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return time.perf_counter_ns() - begin


def _nothing() -> None:
    return None


# A name, what to call, and how often in a row.
_Timed = tuple[str, Callable[[], object], int]


def _calls(
    client: kvferry.Client, group: kvferry.GroupSpec, socket_path: str
) -> Iterator[_Timed]:
    def attach() -> None:
        kvferry.Client(
            "bench", groups=[group], socket_path=socket_path
        ).close()

    yield "attach and close", attach, 1
    tokens = np.arange(32, dtype=np.uint32)
    hasher = client.hasher()
    keys = hasher.hash_blocks(tokens)
    key, missing = keys[:16], keys[16:]
    assert client.publish(key, [bytes(group.block_bytes)]) == 1
    prefix = client.match(key)

    def match_and_release() -> None:
        client.match(key, into=prefix)
        prefix.release()

    many = _GROUP_CALLS
    yield "match of 1 key, miss", lambda: client.match(missing), many
    yield "the same, into", lambda: client.match(missing, into=prefix), many
    yield "match of 1 key, hit", lambda: client.match(key), many
    yield "the same, into, release", match_and_release, many
    yield "lookup of 1 key", lambda: client.lookup(key), many
    yield "hash_blocks, 1 block", lambda: hasher.hash_blocks(tokens[:16]), many
    client.match(key, into=prefix)
    page = prefix.page(0)
    yield "Prefix.page", lambda: prefix.page(0), many
    yield "memoryview(page)", lambda: memoryview(page), many
    yield "numpy.frombuffer(page)", lambda: np.frombuffer(page, np.uint8), many
    # Version 1 can say that memory is read-only.
    yield "page.__dlpack__", lambda: page.__dlpack__(max_version=(1, 0)), many
    yield "numpy.from_dlpack(page)", lambda: np.from_dlpack(page), many
    yield from _torch_calls(page)
    yield "Prefix.check", prefix.check, many
    yield "connected", lambda: client.connected, many
    yield "info", lambda: client.info, many

    def open_and_close() -> None:
        client.open_publication().close()

    yield "open_publication and close", open_and_close, 10
    del page
    prefix.release()


def _torch_calls(page: kvferry.Page) -> Iterator[_Timed]:
    try:
        import torch
    except ImportError:
        return
    yield "torch.from_dlpack(page)", lambda: torch.from_dlpack(page), (
        _GROUP_CALLS
    )
