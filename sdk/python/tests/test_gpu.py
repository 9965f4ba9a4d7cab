"""Blocks into and out of an engine's device memory, on the emulated device:
its memory is this process's, and NumPy's arrays stand for tensors there."""

import ctypes
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import kvferry
import numpy as np
import pytest
from kvferry import errors
from numpy.typing import NDArray
from support.blocks import small_group, tokens
from support.daemon import Daemon
from support.engine_memory import GROUP, LAYERS, TOKENS, Engine, make_engine
from support.gpu_daemon import CONFIG, DEVICE, TIMEOUT_S, open_gpu
from support.wait import wait_until

COUNT = 4
HERE = np.array([5, 0, 7, 2])
THERE = np.array([1, 6, 8, 3])


@pytest.fixture
def gpu_daemon(daemon_directory: Path) -> Iterator[Daemon]:
    with Daemon(daemon_directory, extra_config=CONFIG) as running:
        yield running


def attach(daemon: Daemon, **options: object) -> kvferry.Client:
    return kvferry.Client(
        "test",
        groups=[small_group(**GROUP)],
        socket_path=daemon.socket_path,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def client(gpu_daemon: Daemon) -> kvferry.Client:
    return attach(gpu_daemon)


@pytest.fixture
def gpu(client: kvferry.Client) -> Iterator[kvferry.Gpu]:
    with open_gpu(client) as opened:
        yield opened


def keys_of(client: kvferry.Client, prompt: int = 0) -> bytes:
    return client.hasher().hash_blocks(
        tokens(COUNT * TOKENS, 10_000 * prompt)
    )


def publish(
    client: kvferry.Client,
    gpu: kvferry.Gpu,
    engine: Engine,
    *,
    prompt: int = 0,
    residence: str = "gpu",
) -> bytes:
    """Publishes the engine's blocks HERE; their keys."""
    keys = keys_of(client, prompt)
    with client.open_publication(residence=residence) as publication:
        publication.begin(keys)
        gpu.publish(publication, 0, engine.paged, HERE).wait(10)
    return keys


def check_same(
    source: Engine,
    target: Engine,
    here: NDArray[np.integer] = HERE,
    there: NDArray[np.integer] = THERE,
) -> None:
    for old, new in zip(here, there, strict=True):
        assert np.array_equal(target.page(new), source.page(old))


def test_the_device(client: kvferry.Client, gpu: kvferry.Gpu) -> None:
    assert gpu.uuid == DEVICE
    assert gpu.name
    assert gpu.emulated
    assert gpu.has_pool
    assert DEVICE in repr(gpu)
    with pytest.raises(errors.AlreadyExists):
        kvferry.Gpu(client, DEVICE)


def test_what_an_operator_is_told(
    gpu_daemon: Daemon, client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    publish(client, gpu, make_engine("kbth", client.groups[0]))
    with kvferry.Admin(gpu_daemon.socket_path) as admin:
        (device,) = admin.gpus()
        (session,) = admin.sessions()
        blocks = admin.blocks("test")
    assert device["uuid"] == DEVICE
    assert device["emulated"]
    assert device["worker_pid"] > 0
    assert device["capabilities"]
    (pool,) = device["pools"]
    assert pool["namespace_name"] == "test"
    assert pool["ready"] == COUNT
    assert device["imports"][0]["session"] == session["session"]
    assert session["has_gpu"]
    assert [block["gpu_pool"] for block in blocks] == [pool["pool"]] * COUNT
    assert {block["gpu_state"] for block in blocks} == {"ready"}


def test_without_a_served_device_blocks_are_the_host_s(
    daemon: Daemon,
) -> None:
    client = attach(daemon)
    source = make_engine("kbth", client.groups[0])
    target = make_engine("bkht", client.groups[0], seed=8)
    with kvferry.Gpu(client, DEVICE) as gpu:
        assert not gpu.has_pool
        with pytest.raises(errors.Error):
            gpu.check_pool()
        keys = publish(client, gpu, source, residence="gpu")
        prefix = client.match(keys)
        assert prefix.residence(0) == "host"
        gpu.pull(prefix, target.paged, THERE).wait(10)
    check_same(source, target)


@pytest.mark.parametrize("residence", ["gpu", "host"])
@pytest.mark.parametrize("order", ["kbth", "bhtk"])
def test_from_one_engine_to_another(
    client: kvferry.Client, gpu: kvferry.Gpu, order: str, residence: str
) -> None:
    source = make_engine(order, client.groups[0])
    target = make_engine("kbht", client.groups[0], seed=8)
    old = target.page(0).copy()
    keys = publish(client, gpu, source, residence=residence)
    prefix = client.match(keys)
    assert prefix.tokens == COUNT * TOKENS
    assert prefix.residence(0) == residence
    transfer = gpu.pull(prefix, target.paged, THERE)
    assert prefix.tokens == 0
    transfer.order_after()
    transfer.wait(10)
    transfer.check()
    assert transfer.done()
    assert transfer.skipped == []
    assert transfer.nbytes == COUNT * client.groups[0].page_bytes
    check_same(source, target)
    assert np.array_equal(target.page(0), old)


def test_what_a_publication_is_not_to_write_is_skipped(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = keys_of(client)
    client.publish(keys[:16], [source.page(HERE[0])])
    with client.open_publication(residence="gpu") as publication:
        publication.begin(keys)
        assert publication.residence(0) == "none"
        assert publication.residence(1) == "gpu"
        assert publication.page(1) is None
        transfer = gpu.publish(publication, 0, source.paged, HERE)
        transfer.wait(10)
        assert transfer.skipped == [0]
    assert client.match(keys).block_count() == COUNT


def test_the_host_s_copy_comes_and_is_the_same(
    gpu_daemon: Daemon, client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0])
    target = make_engine("kbth", client.groups[0], seed=8)
    keys = publish(client, gpu, source)
    scheduler = attach(gpu_daemon, residences="any")
    reader = attach(gpu_daemon)
    # Who takes any residence hits at once.
    with scheduler.match(keys) as prefix:
        assert prefix.tokens == COUNT * TOKENS
    wait_until(
        lambda: reader.match(keys).tokens == COUNT * TOKENS,
        "a host copy",
        TIMEOUT_S,
    )
    prefix = reader.match(keys)
    assert prefix.residence(0) == "host"
    prefix.copy_to(target.paged, THERE)
    check_same(source, target)


def test_a_prompt_is_followed_by_layers(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0])
    target = make_engine("bkth", client.groups[0], seed=8)
    keys = keys_of(client)
    publication = client.open_publication(residence="gpu")
    publication.begin(keys)
    ticket = client.mint_ticket(keys, publication=publication)
    stream = client.stream(keys, hint=client.redeem_ticket(ticket).hint)
    reader = gpu.follow(stream, target.paged, THERE, layers_a_piece=1)
    with pytest.raises(errors.FailedPrecondition, match="released"):
        stream.event_fd()
    assert not reader.done()
    with pytest.raises(errors.Unavailable):
        reader.check()
    with pytest.raises(errors.DeadlineExceeded):
        reader.wait(0)
    for layer in range(LAYERS):
        gpu.publish(
            publication, 0, source.paged, HERE,
            first_layer=layer, layer_count=1,
        ).wait(10)  # fmt: skip
    publication.commit_and_wait(0, COUNT)
    publication.close()
    reader.wait(10)
    assert reader.skipped == []
    check_same(source, target)


def test_several_groups_at_once(gpu_daemon: Daemon) -> None:
    groups = [small_group(**GROUP), small_group("other", **GROUP)]
    client = kvferry.Client(
        "two", groups=groups, socket_path=gpu_daemon.socket_path
    )
    gpu = open_gpu(client)
    sources = [make_engine("kbth", group, seed=s) for s, group in
               enumerate(groups)]  # fmt: skip
    targets = [make_engine("kbht", group, seed=8) for group in groups]
    keys = []
    with client.open_publication(residence="gpu") as publication:
        for number, source in enumerate(sources):
            keys.append(client.hasher(number).hash_blocks(tokens(64)))
            first = publication.begin(keys[-1], group=number)
            gpu.publish(publication, first, source.paged, HERE)
    prefix = client.match_groups([(0, keys[0]), (1, keys[1])])
    assert prefix.tokens == COUNT * TOKENS
    gpu.pull_groups(
        prefix,
        [(0, targets[0].paged, THERE), (1, targets[1].paged, THERE[1:], 1)],
    ).wait(10)
    check_same(sources[0], targets[0])
    check_same(sources[1], targets[1], HERE[1:], THERE[1:])
    for wrong in ([(0, targets[0].paged)], [0], [(0, 1, 2)]):
        with pytest.raises(TypeError, match="pulls"):
            gpu.pull_groups(client.match(keys[0]), wrong)  # type: ignore
    gpu.close()


# Goal    What a transfer copies from and to outlives everybody's interest in
#         it, and not the transfer.
# Method  Nobody but the Gpu knows of the memory and the transfer; then the
#         transfer ends, and the Gpu's next call lets go of it.
def test_memory_is_kept_until_the_transfer_has_ended(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = publish(client, gpu, source)
    target = make_engine("kbth", client.groups[0], seed=8)
    layer = weakref.ref(target.layers[0].base)
    transfer = gpu.pull(client.match(keys), target.paged, THERE)
    del target
    gc.collect()
    if not transfer.done():
        assert layer() is not None
    transfer.wait(10)
    gc.collect()
    assert layer() is None


def test_closing_waits_and_transfers_stay(client: kvferry.Client) -> None:
    gpu = open_gpu(client)
    source = make_engine("kbth", client.groups[0])
    target = make_engine("kbht", client.groups[0], seed=8)
    keys = publish(client, gpu, source)
    transfer = gpu.pull(client.match(keys), target.paged, THERE)
    for value in (gpu, transfer):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value)
    gpu.close()
    assert transfer.done()
    transfer.check()
    check_same(source, target)
    assert repr(gpu) == "<kvferry.Gpu, closed>"
    for call in (
        lambda: gpu.uuid,
        lambda: gpu.pull(client.match(keys), target.paged, THERE),
    ):
        with pytest.raises(errors.FailedPrecondition, match="closed"):
            call()
    # Another one may be opened now.
    open_gpu(client).close()


def test_pages_of_the_device(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0])
    prefix = client.match(publish(client, gpu, source))
    address = gpu.prefix_page(prefix, 1)
    assert address
    # The emulated device's memory is the host's.
    page = (ctypes.c_uint8 * source.page(0).nbytes).from_address(address)
    assert np.array_equal(np.frombuffer(page, np.uint8), source.page(HERE[1]))
    with pytest.raises(errors.FailedPrecondition, match="pinned in a GPU"):
        prefix.page(1)
    with pytest.raises(errors.OutOfRange):
        gpu.prefix_page(prefix, COUNT)
    with client.open_publication(residence="gpu") as publication:
        publication.begin(b"n" * 16)
        assert gpu.publication_page(publication, 0)
        with pytest.raises(errors.OutOfRange):
            gpu.publication_page(publication, 1)
        publication.abort()


def test_streams_may_be_objects(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    class TorchLike:
        cuda_stream = 0

    class ProtocolLike:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 0

    source = make_engine("kbth", client.groups[0])
    target = make_engine("kbth", client.groups[0], seed=8)
    keys = publish(client, gpu, source)
    for stream in (0, None, TorchLike(), ProtocolLike()):
        prefix = client.match(keys)
        transfer = gpu.pull(prefix, target.paged, THERE, stream)
        transfer.order_after(stream)
        transfer.wait(10)
    for wrong in ("0", 1.5, object()):
        prefix = client.match(keys)
        with pytest.raises(TypeError, match="stream"):
            gpu.pull(prefix, target.paged, THERE, wrong)
        # What failed left the pins.
        assert prefix.tokens == COUNT * TOKENS


def test_wrong_arguments(client: kvferry.Client, gpu: kvferry.Gpu) -> None:
    source = make_engine("kbth", client.groups[0])
    keys = publish(client, gpu, source, residence="host")
    prefix = client.match(keys)
    view = prefix.page(0)
    with pytest.raises(errors.FailedPrecondition, match="1 views"):
        gpu.pull(prefix, source.paged, THERE)
    del view
    calls: list[Callable[[], object]] = [
        lambda: gpu.pull(prefix, source.paged, np.arange(COUNT + 1)),
        lambda: gpu.pull(prefix, source.paged, np.array([9])),
        lambda: gpu.pull(prefix, source.paged, THERE, group=1),
        lambda: gpu.pull(prefix, source.paged, THERE, last_tokens=17),
        lambda: gpu.pull(client.match(b"n" * 16), source.paged, THERE),
    ]
    for call in calls:
        with pytest.raises((errors.InvalidArgument, errors.OutOfRange)):
            call()
    assert prefix.tokens == COUNT * TOKENS
    with pytest.raises(errors.InvalidArgument, match="residence"):
        client.open_publication(residence="disk")
    with pytest.raises(errors.InvalidArgument, match="residences"):
        kvferry.Client("x", residences="gpu")


def test_memory_of_a_device_is_not_the_processor_s(
    client: kvferry.Client, gpu: kvferry.Gpu
) -> None:
    source = make_engine("kbth", client.groups[0], on_device=True)
    assert source.paged.on_device
    assert "on a device" in repr(source.paged)
    prefix = client.match(publish(client, gpu, source, residence="host"))
    with pytest.raises(errors.FailedPrecondition, match="device"):
        prefix.copy_to(source.paged, THERE)
    with pytest.raises(errors.FailedPrecondition, match="device"):
        source.paged.gather(0, 0, bytearray(source.page(0).nbytes))


# Goal    Threads pull and publish beside one another.
# Method  Four, each its own prompts, with one Gpu.
def test_threads(client: kvferry.Client, gpu: kvferry.Gpu) -> None:
    source = make_engine("kbth", client.groups[0])
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            target = make_engine("kbht", client.groups[0], seed=8)
            for prompt in range(10):
                keys = publish(
                    client, gpu, source, prompt=100 * number + prompt + 1
                )
                gpu.pull(client.match(keys), target.paged, THERE).wait(10)
                check_same(source, target)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
