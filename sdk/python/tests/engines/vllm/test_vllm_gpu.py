"""The connector with the SDK's Gpu, on the emulated device: the engine's pages
are in host memory, everything else is as with a GPU. (All other tests run so,
too, with KVFERRY_TEST_ENGINE_DEVICE=emulated:0.)"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kvferry
import kvferry.vllm.link
import pytest
from kvferry import errors
from vllm.v1.core.sched.output import SchedulerOutput

from harness.engine import Engine
from harness.models import HYBRID, LATENT, LLAMA, ModelShape
from harness.prompts import family, prompt
from harness.site import Site, until

by_shape = pytest.mark.parametrize(
    "shape", [LLAMA, HYBRID, LATENT], ids=lambda s: s.name
)
by_load = pytest.mark.parametrize("load", ["async", "sync"])


@pytest.fixture
def site_device() -> str:
    return "emulated:0"


class CountingGpu:
    """A Gpu that tells what went through all of its kind."""

    pulled = 0
    published = 0
    residences: set[str] = set()
    before_pull: Callable[[], None] | None = None

    def __init__(self, client: kvferry.Client, device: str) -> None:
        self._gpu = kvferry.Gpu(client, device)

    @property
    def has_pool(self) -> bool:
        return self._gpu.has_pool

    def pull(
        self, prefix: kvferry.Prefix, *arguments: Any, group: int
    ) -> kvferry.Transfer:
        cls = CountingGpu
        first = prefix.first_block(group)
        cls.pulled += prefix.block_count(group)
        cls.residences |= {
            prefix.residence(first + i, group)
            for i in range(prefix.block_count(group))
        }
        if cls.before_pull is not None:
            cls.before_pull()
        return self._gpu.pull(prefix, *arguments, group=group)

    def publish(self, *arguments: Any, **options: Any) -> kvferry.Transfer:
        CountingGpu.published += 1
        return self._gpu.publish(*arguments, **options)

    def close(self) -> None:
        self._gpu.close()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[CountingGpu]]:
    CountingGpu.pulled = CountingGpu.published = 0
    CountingGpu.residences = set()
    CountingGpu.before_pull = None
    monkeypatch.setattr(kvferry.vllm.link, "Gpu", CountingGpu)
    yield CountingGpu


def wait_for_pools(engine: Engine) -> None:
    """The device's memory comes a moment after the attachment."""
    for gpu in gpus(engine):
        until(lambda gpu=gpu: gpu.has_pool, "no pool")  # type: ignore[misc]


def gpus(engine: Engine) -> list[Any]:
    found = []
    for worker in engine.workers:
        link = worker.connector()._worker._link
        if link.gpu is not None:
            found.append(link.gpu)
    return found


@by_shape
@by_load
def test_a_second_engine(
    site: Site,
    shape: ModelShape,
    load: str,
    counted: type[CountingGpu],
) -> None:
    text = family(4, 100, (0, 20, 60))
    first = site.engine(shape=shape)
    wait_for_pools(first)
    first.generate(text)
    site.settle(first)
    second = site.engine(load, shape=shape)
    wait_for_pools(second)

    second.generate(text)

    site.expect(first, text)
    site.expect(second, text)
    assert second.deviations() == []
    assert second.external_tokens(text) > 0
    assert counted.published > 0
    assert counted.pulled > 0
    assert "gpu" in counted.residences


@by_shape
@by_load
def test_hand_over(site: Site, shape: ModelShape, load: str) -> None:
    text = prompt(100, 150)
    prefiller = site.engine(shape=shape, role="kv_producer", chunk_tokens=64)
    decoder = site.engine(load, shape=shape, role="kv_consumer")

    prefiller.add("p", text, 1, params={"do_remote_decode": True})
    prefiller.run()
    decoder.add("d", text, 8, params=prefiller.outputs["p"].params)
    decoder.run()

    site.expect(decoder, {"d": text}, 8)
    assert decoder.outputs["d"].external_tokens == 144
    assert decoder.deviations() == []


def workers_of(site: Site) -> list[int]:
    """The processes kvferry-gpu of the site's daemon."""
    pid = site.daemon.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if Path(f"/proc/{child}/comm").read_text().strip() == "kvferry-gpu"
    ]


def kill_worker(site: Site) -> None:
    for pid in workers_of(site):
        os.kill(pid, signal.SIGKILL)


def kill_daemon(site: Site) -> None:
    site.daemon.kill()
    site.daemon.start()


def clear(site: Site) -> None:
    with site.admin() as admin:
        admin.clear("engines")


# Goal    What goes away between the scheduler's answer and the copy, or while
#         it copies, costs the computation and nothing else.
# Method  The fault strikes at the first step with a load, or right before a
#         worker's first pull.
@pytest.mark.parametrize(
    "fault", [kill_worker, kill_daemon, clear], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("moment", ["step", "pull"])
@by_load
def test_recomputed(
    site: Site,
    load: str,
    moment: str,
    fault: Callable[[Site], None],
    counted: type[CountingGpu],
) -> None:
    text = family(50, 100, (40, 100))
    writer = site.engine()
    wait_for_pools(writer)
    writer.generate(text)
    site.settle(writer)
    engine = site.engine(load, chunk_tokens=96)
    wait_for_pools(engine)
    assert workers_of(site)
    struck: list[int] = []

    def strike() -> None:
        if not struck:
            struck.append(engine.steps)
            fault(site)

    def at_step(output: SchedulerOutput) -> None:
        if output.kv_connector_metadata.loads:  # type: ignore[union-attr]
            strike()

    if moment == "step":
        engine.before_step = at_step
    else:
        counted.before_pull = strike
    engine.generate(text)

    assert struck
    site.expect(engine, text)


def test_ranks_write_to_host_memory(
    site: Site, counted: type[CountingGpu]
) -> None:
    """A block of several ranks' slices is where each of them can write."""
    text = {"a": prompt(7, 100)}
    first = site.engine(tp_size=2)
    wait_for_pools(first)
    first.generate(text)
    site.settle(first)
    second = site.engine(tp_size=2)

    second.generate(text)

    site.expect(second, text)
    assert second.external_tokens(text) == 96
    assert counted.residences == {"host"}


def test_a_device_that_cannot_be_opened(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(
        kvferry.vllm.link.logger,
        "warning",
        lambda text, *values: warnings.append(text % values),
    )

    def refuse(client: kvferry.Client, device: str) -> None:
        raise errors.Unavailable("no driver")

    monkeypatch.setattr(kvferry.vllm.link, "Gpu", refuse)
    text = {"a": prompt(8, 100)}
    first = site.engine()
    first.generate(text)
    site.settle(first)
    second = site.engine()

    second.generate(text)

    site.expect(second, text)
    assert second.external_tokens(text) == 96
    said = [text for text in warnings if "no driver" in text]
    assert len(said) == 2  # once an engine
    assert "copies are torch's" in said[0]


def test_no_device_is_asked_for(
    site: Site, counted: type[CountingGpu]
) -> None:
    text = {"a": prompt(9, 100)}
    first = site.engine(connector={"device": "none"})
    first.generate(text)
    site.settle(first)

    assert gpus(first) == []
    assert counted.published == 0
    site.expect(first, text)
