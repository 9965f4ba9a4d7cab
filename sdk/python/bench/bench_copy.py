"""Publishing an engine's cache and restoring it, beside plain copies of the
same bytes between the same memory.

Goal: 0.85 of the plain copy's rate. Publishing is open, begin, fill, commit,
close, until all is visible; restoring is match, copy_to (which checks),
release. The plain copies write to pages that are begun and held, and read from
pages that are pinned, of the same pool, in turn with ours: `strided` is what
one would write in NumPy for that layout, `torch` the same with its copy_, and
`memcpy` moves as many bytes without a care for their order.
"""

import functools
import itertools
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import kvferry
import numpy as np
from engine_cache import (
    LAYOUTS,
    LLAMA_8B,
    EngineCache,
    Layout,
    copy_flat,
    copy_strided,
)
from options import Options
from row import Row, median
from stage import measuring_processor, running_daemon, wait_for_memory

_GOAL = 0.85
_MIB = 2**20
_SIZES_MIB = (256, 1024)
_QUICK_SIZES_MIB = (64,)


class Torch:
    """The strided copy by torch, on one thread."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self._torch = torch

    def copy(
        self, cache: EngineCache, pages: list[np.ndarray], *, to_pages: bool
    ) -> Callable[[], None]:
        layers = [self._view(layer) for layer in cache.layers]
        views = [self._view(page) for page in pages]

        def run() -> None:
            for block, page in enumerate(views):
                for at, layer in enumerate(layers):
                    if to_pages:
                        page[at].copy_(layer[block])
                    else:
                        layer[block].copy_(page[at])

        return run

    def _view(self, array: np.ndarray) -> Any:
        with warnings.catch_warnings():
            # It warns of arrays that must not be written to; nobody does.
            warnings.simplefilter("ignore")
            return self._torch.from_numpy(array.view(np.int16))


def _torch() -> Torch | None:
    try:
        return Torch()
    except ImportError:
        return None


class CopyBench:
    """One cache, published and restored again and again."""

    def __init__(
        self, client: kvferry.Client, cache: EngineCache, torch: Torch | None
    ) -> None:
        self._client = client
        self._cache = cache
        self._torch = torch
        self._count = len(cache.blocks)
        self._tokens = np.arange(16 * self._count, dtype=np.uint32)
        self._numbers = itertools.count(1)
        self._hasher = client.hasher()

    def warm_up(self) -> None:
        """Until this process has touched every page of the pool."""
        for _ in range(10):
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            self._client.clear()
            keys = self._new_keys()
            self._publish(keys)
            self._restore(keys)
            if resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 64:
                return

    def check(self) -> None:
        """What is published is what is restored."""
        before = [flat.copy() for flat in self._cache.flat]
        keys = self._new_keys()
        self._publish(keys)
        for flat in self._cache.flat:
            flat[:] = 0
        self._restore(keys)
        for flat, expected in zip(self._cache.flat, before, strict=True):
            assert np.array_equal(flat, expected), "restored other bytes"

    def publish(self, rounds: int) -> dict[str, float]:
        """Median seconds of ours and of each plain copy."""
        samples: dict[str, list[float]] = {}
        for turn in range(rounds):
            self._client.clear()
            publication = self._client.open_publication()
            publication.begin(self._new_keys())
            pages = [publication.page(p) for p in range(self._count)]
            plain = self._plain(pages, to_pages=True)
            del pages
            _take_turns(plain, samples, turn)
            plain.clear()
            publication.abort()
            publication.close()
            ours = functools.partial(self._publish, self._new_keys())
            _take_turns({"kvferry": ours}, samples, 0)
        return {name: median(times) for name, times in samples.items()}

    def restore(self, rounds: int) -> dict[str, float]:
        samples: dict[str, list[float]] = {}
        self._client.clear()
        keys = self._new_keys()
        self._publish(keys)
        with self._client.match(keys) as prefix:
            pages = [prefix.page(p) for p in range(self._count)]
            contestants = self._plain(pages, to_pages=False)
            del pages
            contestants["kvferry"] = lambda: self._restore(keys)
            for turn in range(rounds):
                _take_turns(contestants, samples, turn)
            contestants.clear()
        return {name: median(times) for name, times in samples.items()}

    def _new_keys(self) -> bytes:
        extra = next(self._numbers).to_bytes(8, "little")
        return self._hasher.hash_blocks(self._tokens, extra=extra)

    def _publish(self, keys: bytes) -> None:
        with self._client.open_publication() as publication:
            publication.begin(keys)
            filled = publication.fill(0, self._cache.paged, self._cache.blocks)
            assert filled == self._count, f"{filled} of {self._count} blocks"
            publication.commit_and_wait(0, self._count)

    def _restore(self, keys: bytes) -> None:
        with self._client.match(keys) as prefix:
            assert prefix.block_count() == self._count
            prefix.copy_to(self._cache.paged, self._cache.blocks)

    def _plain(
        self, pages: list[kvferry.Page], *, to_pages: bool
    ) -> dict[str, Callable[[], None]]:
        cache = self._cache
        views = cache.page_views(pages)
        contestants: dict[str, Callable[[], None]] = {
            "memcpy": lambda: copy_flat(cache, views, to_pages=to_pages),
            "strided": lambda: copy_strided(cache, views, to_pages=to_pages),
        }
        if self._torch is not None:
            contestants["torch"] = self._torch.copy(
                cache, views, to_pages=to_pages
            )
        return contestants


def _take_turns(
    contestants: dict[str, Callable[[], None]],
    samples: dict[str, list[float]],
    turn: int,
) -> None:
    names = list(contestants)
    turn %= len(names)
    for name in names[turn:] + names[:turn]:
        begin = time.perf_counter()
        contestants[name]()
        samples.setdefault(name, []).append(time.perf_counter() - begin)


def _rows(name: str, size: int, seconds: dict[str, float]) -> Iterator[Row]:
    ours = seconds.pop("kvferry")
    rates = {f"{n}_gb_per_s": size / s / 1e9 for n, s in seconds.items()}
    for plain, taken in seconds.items():
        yield Row(
            "copy",
            f"{name} / {plain}",
            taken / ours,
            "x",
            at_least=_GOAL,
            more={
                "gb_per_s": size / ours / 1e9,
                "plain_gb_per_s": rates[f"{plain}_gb_per_s"],
            },
        )


def _measure(
    opts: Options, size_mib: int, layout: Layout, torch: Torch | None
) -> Iterator[Row]:
    size = size_mib * _MIB
    blocks = size // LLAMA_8B.block_bytes
    with (
        running_daemon(f"{size_mib * 9 // 4 + 64} MiB") as daemon,
        kvferry.Client(
            "bench", groups=[LLAMA_8B], socket_path=daemon.socket_path
        ) as client,
        measuring_processor(),
    ):
        wait_for_memory(daemon)
        cache = EngineCache(LLAMA_8B, blocks, layout, seed=1)
        bench = CopyBench(client, cache, torch)
        bench.warm_up()
        bench.check()
        rounds = opts.rounds(7, 3)
        name = f"{layout.name} {size_mib} MiB"
        yield from _rows(f"publish {name}", size, bench.publish(rounds))
        yield from _rows(f"restore {name}", size, bench.restore(rounds))


def run(opts: Options) -> Iterator[Row]:
    torch = _torch()
    for size_mib in _QUICK_SIZES_MIB if opts.quick else _SIZES_MIB:
        for layout in LAYOUTS:
            yield from _measure(opts, size_mib, layout, torch)
