"""Objects used, and closed, by several threads at once."""

import subprocess
import sys
import threading
from collections.abc import Callable

import kvferry
import numpy as np
from kvferry import errors
from support.blocks import random_blocks, small_group, tokens
from support.daemon import Daemon

THREADS = 4
TIMEOUT_S = 20.0


def run_all(bodies: list[Callable[[], None]]) -> None:
    """Runs each in a thread; the first failure is this call's."""
    failures: list[BaseException] = []

    def run(body: Callable[[], None]) -> None:
        try:
            body()
        # Raised below, in the test's own thread.
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_one_client_is_used_by_all(client: kvferry.Client) -> None:
    group = client.groups[0]

    def work(index: int) -> Callable[[], None]:
        def body() -> None:
            hasher = client.hasher()
            prefix = None
            for round_index in range(20):
                first = (index * 1000 + round_index * 8) * 16
                keys = hasher.hash_blocks(tokens(8 * 16, first))
                blocks = random_blocks(8, group, seed=first)
                assert client.publish(keys, blocks) == 8
                prefix = client.match(keys, into=prefix)
                assert prefix.block_count() == 8
                page = np.asarray(prefix.page(7))
                assert np.array_equal(page, blocks[7])
                del page
                assert client.lookup(keys).tokens == 128

        return body

    run_all([work(i) for i in range(THREADS)])


# Goal    Closing beside calls that gave up the GIL crashes nothing: they end as
#         they would have, or are refused.
def test_close_beside_calls(daemon: Daemon) -> None:
    for _ in range(10):
        client = kvferry.Client(
            "test", groups=[small_group()], socket_path=daemon.socket_path
        )
        keys = client.hasher().hash_blocks(tokens(600 * 16))
        blocks = np.zeros((600, 4096), np.uint8)
        started = threading.Barrier(3)

        def publish(
            client: kvferry.Client = client,
            keys: bytes = keys,
            blocks: object = blocks,
            started: threading.Barrier = started,
        ) -> None:
            started.wait(TIMEOUT_S)
            try:
                for _ in range(5):
                    client.publish(keys, blocks)  # type: ignore[arg-type]
                    client.match(keys)
            except errors.FailedPrecondition as error:
                assert "closed" in str(error)

        def close(
            client: kvferry.Client = client,
            started: threading.Barrier = started,
        ) -> None:
            started.wait(TIMEOUT_S)
            client.close()

        run_all([publish, publish, close])


# Goal    Two threads in one object: one of them is refused, never both let in.
def test_one_thread_at_a_time(client: kvferry.Client) -> None:
    keys = client.hasher().hash_blocks(tokens(1024 * 16))
    client.publish(keys, np.zeros((1024, 4096), np.uint8))
    hasher = client.hasher()
    values = tokens(1024 * 16)
    prefix = client.match(keys)
    refused = 0

    def use() -> None:
        nonlocal refused
        for _ in range(50):
            try:
                assert hasher.hash_blocks(values) == keys
                client.match(keys, into=prefix)
                assert prefix.tokens in (0, 1024 * 16)
                prefix.release()
            except errors.FailedPrecondition as error:
                assert "in use by another thread" in str(error)
                refused += 1

    run_all([use] * THREADS)
    assert client.match(keys, into=prefix).tokens == 1024 * 16


def test_paged_memory_is_used_by_all(client: kvferry.Client) -> None:
    group = client.groups[0]
    memory = random_blocks(16, group)
    # A block as KVFerry has it: 2 layers, K and V, 16 tokens, 2 heads of 32.
    layers = [
        kvferry.PagedLayer(
            memory.__array_interface__["data"][0] + layer * 2048,
            kv_stride=1024,
            block_stride=4096,
            token_stride=64,
            head_stride=32,
        )
        for layer in range(2)
    ]
    paged = kvferry.PagedMemory(group, layers, 16, owner=memory)

    def work(index: int) -> Callable[[], None]:
        def body() -> None:
            page = bytearray(group.page_bytes)
            for round_index in range(200):
                block = (index + round_index) % 16
                paged.gather(block, 0, page)
                assert page == bytes(memory[block])

        return body

    run_all([work(i) for i in range(THREADS)])


# Goal    A program ends in order while a thread of it waits for ever.
# Method  Its thread follows keys that nobody commits; the main thread ends when
#         the wait has begun, and takes its time over it, so that the thread
#         comes back to an interpreter that is ending.
def test_the_end_of_a_program_that_waits(
    daemon: Daemon, client: kvferry.Client
) -> None:
    keys = client.hasher().hash_blocks(tokens(16))
    with client.open_publication() as publication:
        publication.begin(keys)
        ticket = client.mint_ticket(keys, publication=publication)
        program = f"""
import sys
import threading
import time
import kvferry

class Late:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)

sys.late = Late()
client = kvferry.Client(
    "test", accept_existing=True, socket_path={daemon.socket_path!r}
)
content = client.redeem_ticket({ticket!r})
stream = client.stream(content.keys, hint=content.hint)
threading.Thread(
    target=lambda: stream.wait_chunk(1, None), daemon=True
).start()
while True:
    try:
        stream.ok_blocks
    except kvferry.errors.FailedPrecondition:
        break
"""
        result = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        publication.abort()
    assert (result.returncode, result.stderr) == (0, "")
