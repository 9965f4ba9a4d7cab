"""Streams: blocks followed while another thread writes them."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from functools import partial

import kvferry
import numpy as np
import pytest
from kvferry import errors
from support.blocks import Bytes, random_blocks, split_keys, tokens
from support.daemon import Daemon
from support.wait import wait_until

COUNT = 6
TIMEOUT_S = 10.0


@pytest.fixture
def reader(daemon: Daemon, client: kvferry.Client) -> Iterator[kvferry.Client]:
    with kvferry.Client(
        "test",
        accept_existing=True,
        publish=False,
        socket_path=daemon.socket_path,
    ) as attached:
        yield attached


class Writer:
    """A publication of COUNT random blocks that a test takes on by steps."""

    def __init__(self, client: kvferry.Client) -> None:
        self.keys = client.hasher().hash_blocks(tokens(COUNT * 16))
        self.blocks: Bytes = random_blocks(COUNT, client.groups[0])
        self.publication = client.open_publication()
        self.publication.begin(self.keys)
        self.ticket = client.mint_ticket(
            self.keys, publication=self.publication
        )

    def fill(self, first: int, count: int) -> None:
        for i in range(first, first + count):
            np.asarray(self.publication.page(i))[:] = self.blocks[i]

    def write(self, first: int, count: int) -> None:
        self.fill(first, count)
        self.publication.commit(first, count)


@pytest.fixture
def writer(client: kvferry.Client) -> Writer:
    return Writer(client)


def follow(reader: kvferry.Client, writer: Writer) -> kvferry.Stream:
    content = reader.redeem_ticket(writer.ticket)
    assert content.keys == writer.keys
    return reader.stream(content.keys, hint=content.hint)


def test_a_stream_grows_as_blocks_come(
    reader: kvferry.Client, writer: Writer
) -> None:
    stream = follow(reader, writer)
    assert (stream.key_count, stream.ok_blocks, stream.done) == (
        COUNT, 0, False,
    )  # fmt: skip

    writer.write(0, 2)
    stream.wait_chunk(2, TIMEOUT_S)
    assert (stream.ok_blocks, stream.ok_tokens) == (2, 32)
    page = stream.page(1)
    assert page is not None
    assert page.readonly
    assert bytes(page) == bytes(writer.blocks[1])

    writer.fill(2, 4)
    writer.publication.commit_layers(2, 4, 1)
    stream.wait_layer(COUNT, 1, TIMEOUT_S)
    assert (stream.ok_blocks, stream.layered_end, stream.ok_layers) == (
        2, COUNT, 1,
    )  # fmt: skip
    page_bytes = len(page) // 2
    layer = stream.page(5)
    assert layer is not None
    assert bytes(layer)[:page_bytes] == bytes(writer.blocks[5])[:page_bytes]

    writer.publication.set_hand_over(b"first token: 7")
    writer.publication.commit(2, 4)
    stream.wait_committed(TIMEOUT_S)
    assert stream.done
    assert stream.confirm(COUNT) == COUNT
    assert stream.hand_over() == b"first token: 7"
    stream.check()
    assert reader.match(writer.keys).block_count() == COUNT
    assert "6 of 6 blocks, done" in repr(stream)


def test_a_wait_in_another_thread(
    reader: kvferry.Client, writer: Writer
) -> None:
    stream = follow(reader, writer)
    seen: list[int] = []

    def read() -> None:
        while not stream.done:
            stream.wait_change(TIMEOUT_S)
            seen.append(stream.ok_blocks)

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(COUNT):
        writer.write(i, 1)
        wait_until(partial(seen.__contains__, i + 1), f"block {i}")
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert seen == sorted(seen)
    assert seen[-1] == COUNT


def is_in_use(stream: kvferry.Stream) -> bool:
    """Whether another thread's call is under way."""
    try:
        _ = stream.ok_blocks
    except errors.FailedPrecondition as error:
        return "in use by another thread" in str(error)
    return False


# Goal    Ctrl-C ends a wait that would last for ever.
def test_a_signal_ends_a_wait(
    reader: kvferry.Client, writer: Writer, request: pytest.FixtureRequest
) -> None:
    # A shell that starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    stream = follow(reader, writer)

    def interrupt() -> None:
        wait_until(lambda: is_in_use(stream), "the wait")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        stream.wait_chunk(COUNT, None)
    thread.join(TIMEOUT_S)
    writer.write(0, COUNT)
    stream.wait_chunk(COUNT, TIMEOUT_S)


# Goal    A wait that is under way keeps others from the stream, and takes no
#         harm from their trying.
def test_another_thread_is_refused_meanwhile(
    reader: kvferry.Client, writer: Writer
) -> None:
    stream = follow(reader, writer)
    started = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        started.set()
        try:
            stream.wait_chunk(COUNT, TIMEOUT_S)
        # Whatever it is, the test is to fail with it.
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    started.wait(TIMEOUT_S)
    wait_until(lambda: is_in_use(stream), "the wait")
    for call in (stream.release, stream.poll, lambda: stream.page(0)):
        with pytest.raises(errors.FailedPrecondition, match="another thread"):
            call()
    reader.close()  # keeps nobody from going on
    writer.write(0, COUNT)
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert not failures
    assert stream.ok_blocks == COUNT


def test_timeouts(reader: kvferry.Client, writer: Writer) -> None:
    stream = follow(reader, writer)
    for timeout in (0, 0.0, -1, 0.01, 0.15):
        for call in (
            lambda t: stream.wait_chunk(1, t),
            lambda t: stream.wait_layer(1, 1, t),
            lambda t: stream.wait_committed(t),
        ):
            with pytest.raises(errors.DeadlineExceeded, match="0 of 6"):
                call(timeout)
    with pytest.raises(errors.InvalidArgument, match="nan"):
        stream.wait_chunk(1, float("nan"))
    stream.check()
    writer.write(0, COUNT)
    stream.wait_chunk(COUNT, None)


def test_an_aborted_publication_fails_its_stream(
    reader: kvferry.Client, writer: Writer
) -> None:
    stream = follow(reader, writer)
    writer.write(0, 2)
    writer.publication.abort()
    with pytest.raises(errors.Aborted):
        stream.wait_chunk(COUNT, TIMEOUT_S)
    assert (stream.done, stream.ok_blocks) == (True, 2)
    with pytest.raises(errors.Aborted):
        stream.check()
    assert bytes(stream.page(1) or b"") == bytes(writer.blocks[1])


def test_nobody_writes_it(reader: kvferry.Client) -> None:
    stream = reader.stream(b"n" * 16)
    assert stream.done
    with pytest.raises(errors.NotFound):
        stream.check()
    with pytest.raises(LookupError):
        stream.wait_chunk(1, None)
    assert stream.page(0) is None
    with pytest.raises(errors.NotFound):
        stream.hand_over()


def test_ready_blocks_alone(reader: kvferry.Client, writer: Writer) -> None:
    writer.write(0, 2)
    writer.publication.commit_and_wait(0, 0)
    wait_until(
        lambda: reader.match(writer.keys).block_count() == 2, "the commit"
    )
    stream = reader.stream(writer.keys, include_in_flight=False)
    assert (stream.ok_blocks, stream.block_count) == (2, 2)


def test_event_fd_and_poll(reader: kvferry.Client, writer: Writer) -> None:
    stream = follow(reader, writer)
    stream.poll()
    fd = stream.event_fd()
    assert stream.event_fd() == fd
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    writer.write(0, COUNT)
    while not stream.done:
        assert poller.poll(TIMEOUT_S * 1000)
        stream.poll()
    assert stream.ok_blocks == COUNT


def pinned_blocks(daemon: Daemon, client: kvferry.Client) -> int:
    sessions = kvferry.Admin(daemon.socket_path).sessions()
    (found,) = [s for s in sessions if s["session"] == client.info.session]
    count: int = found["pinned_blocks"]
    return count


def test_release_waits_for_views(
    daemon: Daemon, reader: kvferry.Client, writer: Writer
) -> None:
    writer.write(0, COUNT)
    with follow(reader, writer) as stream:
        stream.wait_committed(TIMEOUT_S)
        view = np.asarray(stream.page(3))
        assert pinned_blocks(daemon, reader) == COUNT
    assert pinned_blocks(daemon, reader) == COUNT
    assert np.array_equal(view, writer.blocks[3])
    del view
    assert pinned_blocks(daemon, reader) == 0


def test_a_released_stream_is_empty(
    reader: kvferry.Client, writer: Writer
) -> None:
    stream = follow(reader, writer)
    stream.release()
    stream.release()
    assert (stream.key_count, stream.ok_blocks, stream.done) == (0, 0, True)
    assert stream.page(0) is None
    assert not stream.poll()
    assert stream.confirm(1) == 0
    stream.check()
    for call in (
        lambda: stream.wait_chunk(0, 0),
        lambda: stream.wait_change(0),
        stream.event_fd,
        stream.hand_over,
    ):
        with pytest.raises(errors.FailedPrecondition, match="released"):
            call()


def test_wrong_arguments(reader: kvferry.Client, writer: Writer) -> None:
    stream = follow(reader, writer)
    for call in (
        lambda: stream.wait_chunk(COUNT + 1, 0),
        lambda: stream.wait_layer(1, 3, 0),
        lambda: stream.wait_chunk(-1, 0),
        lambda: reader.stream(b""),
        lambda: reader.stream(writer.keys, group=1),
        lambda: reader.stream(writer.keys, tail_tokens=16),
    ):
        with pytest.raises(errors.InvalidArgument):
            call()
    for hint in ((1,), (1, 2, 3), ("a", "b"), 5):
        with pytest.raises(TypeError):
            reader.stream(writer.keys, hint=hint)  # type: ignore[arg-type]


# --- tickets -----------------------------------------------------------------


def test_a_ticket_carries_what_it_was_given(
    client: kvferry.Client, reader: kvferry.Client
) -> None:
    hasher = client.hasher()
    keys = hasher.hash_blocks(tokens(32))
    keys += hasher.hash_block(tokens(3, first=32), parent=keys[16:])
    with client.open_publication() as publication:
        publication.begin(keys, tail_tokens=3)
        publication.commit_and_wait(0, 3)
    ticket = client.mint_ticket(
        keys, tail_tokens=3, hand_over=b"\0state\xff", consumers=2, ttl=30
    )
    assert ticket.isascii()
    for _ in range(2):
        content = reader.redeem_ticket(ticket)
        assert (content.keys, content.group, content.tail_tokens) == (
            keys, 0, 3,
        )  # fmt: skip
        assert content.hand_over == b"\0state\xff"
        assert content.hint is None
        assert "3 keys" in repr(content)
        reader.release_ticket(ticket)
    with pytest.raises(errors.NotFound):
        reader.redeem_ticket(ticket)


def test_a_ticket_of_a_publication_has_a_hint(
    reader: kvferry.Client, writer: Writer
) -> None:
    content = reader.redeem_ticket(writer.ticket)
    assert content.hint is not None
    slot, generation = content.hint
    assert slot >= 0
    assert generation > 0


@pytest.mark.parametrize("text", ["", "x", "not a ticket!", "AAAA", "a\0b"])
def test_what_is_no_ticket(client: kvferry.Client, text: str) -> None:
    for call in (client.redeem_ticket, client.release_ticket):
        with pytest.raises(errors.InvalidArgument, match="ticket"):
            call(text)


def test_wrong_tickets(client: kvferry.Client, writer: Writer) -> None:
    (key, *_) = split_keys(writer.keys)
    with pytest.raises(errors.NotFound, match="block 0"):
        client.mint_ticket(b"n" * 16)
    for options in (
        {"ttl": 0.0},
        {"ttl": -1.0},
        {"ttl": 1e6},
        {"consumers": 0},
        {"consumers": -1},
        {"hand_over": bytes(4097)},
        {"group": 1},
    ):
        with pytest.raises(errors.InvalidArgument):
            client.mint_ticket(
                key,
                publication=writer.publication,
                **options,  # type: ignore[arg-type]
            )
