"""Pages in a device's memory, copied by torch.

Blocks go through staging memory of the host, some at a time: gathered or
scattered on the device by one indexing a layer, and moved in one copy. All of
it runs on a stream of the copying thread; nothing ever waits for the device as
a whole, or holds up the engine's stream.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from kvferry.vllm.metadata import NO_BLOCK, unpack_ids

if TYPE_CHECKING:
    from kvferry import Prefix, Publication
    from kvferry.vllm.spec import Part

# A point in the engine's stream; None where there are no streams.
Mark = Any
# A stream as the SDK takes it; None where there are none.
StreamHandle = int | None

_STAGING_BYTES = 32 << 20
# Publication.outcomes: blocks that are to be written.
_TO_WRITE = frozenset((0, 6))


class StreamLike(Protocol):
    """What DevicePages needs of a device's queues."""

    def mark(self) -> Mark: ...
    def after(self, mark: Mark) -> Any: ...
    def finish(self) -> None: ...
    def handle(self) -> StreamHandle: ...
    def engine_handle(self) -> StreamHandle: ...


class NoStream:
    """Memory whose operations are over when they return."""

    def mark(self) -> Mark:
        return None

    @contextmanager
    def after(self, mark: Mark) -> Iterator[None]:
        yield

    def finish(self) -> None:
        return

    def handle(self) -> StreamHandle:
        return None

    def engine_handle(self) -> StreamHandle:
        return None


class SideStream:
    """A stream for each thread that copies, beside the engine's.

    Threads  any number
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = torch.get_device_module(device)
        self._local = threading.local()

    def mark(self) -> Mark:
        """Now, in the calling thread's current stream."""
        event = self._module.Event()
        event.record(self._module.current_stream(self._device))
        return event

    @contextmanager
    def after(self, mark: Mark) -> Iterator[None]:
        """What is launched inside runs after what stood before `mark`."""
        with self._module.device(self._device):
            stream = self._stream()
            if mark is not None:
                stream.wait_event(mark)
            with self._module.stream(stream):
                yield

    def finish(self) -> None:
        """Waits until what this thread launched is over; gives up the GIL."""
        with self._module.device(self._device):
            event = self._module.Event()
            event.record(self._stream())
            event.synchronize()

    def handle(self) -> StreamHandle:
        """Of this thread's stream."""
        return int(self._stream().cuda_stream)

    def engine_handle(self) -> StreamHandle:
        """Of the calling thread's current stream."""
        return int(self._module.current_stream(self._device).cuda_stream)

    def _stream(self) -> Any:
        stream = getattr(self._local, "stream", None)
        if stream is None:
            stream = self._local.stream = self._module.Stream(
                device=self._device
            )
        return stream


def stream_of(device: torch.device) -> StreamLike:
    return NoStream() if device.type == "cpu" else SideStream(device)


class DevicePages:
    """The pages of one part in a device's memory.

    Threads  any number; each block in one copy at a time
    """

    def __init__(
        self,
        part: "Part",
        layers: Sequence[torch.Tensor],
        slices: tuple[int, int],
        block_count: int,
        stream: StreamLike,
    ) -> None:
        self._part = part
        self._slices = range(slices[0], slices[0] + slices[1])
        self._stream = stream
        self._device = layers[0].device
        # [block, kernel block, head, token, byte], views of the engine's.
        self._layers = [
            layer.view(torch.uint8).view(
                block_count,
                len(layer) // block_count,
                part.heads_per_rank,
                layer.shape[2],
                part.cell_bytes,
            )
            for layer in layers
        ]
        spec = part.spec
        self._page_shape = (
            spec.layer_count,
            spec.block_tokens,
            spec.head_count,
            spec.head_bytes,
        )
        # One block, all slices of this rank, as the host has it.
        self._block_shape = (
            spec.layer_count,
            spec.block_tokens,
            spec.head_count * slices[1],
            spec.head_bytes,
        )
        block_bytes = spec.page_bytes * slices[1]
        self._batch = max(1, _STAGING_BYTES // block_bytes)
        self._local = threading.local()

    # vLLM may have made its tensors in this mode; others are allowed, too.
    @torch.inference_mode()
    def load(
        self, prefix: "Prefix", block_ids: bytes, mark: Mark
    ) -> None:
        """As HostPages.load."""
        wanted = [
            (position, block)
            for position, block in enumerate(unpack_ids(block_ids))
            if block != NO_BLOCK
        ]
        for start in range(0, len(wanted), self._batch):
            batch = wanted[start : start + self._batch]
            staging = self._staging(len(batch))
            host = staging.numpy()
            for i, (position, _) in enumerate(batch):
                for s, slice_number in enumerate(self._slices):
                    page = prefix.page(
                        position, slice_number, self._part.index
                    )
                    host[i, :, :, self._heads(s)] = np.frombuffer(
                        memoryview(page), np.uint8
                    ).reshape(self._page_shape)
            # Before the engine's blocks are touched: bytes that cannot be
            # trusted go nowhere.
            prefix.check()
            with self._stream.after(mark):
                self._scatter(staging, [block for _, block in batch])
            self._stream.finish()

    @torch.inference_mode()
    def save(
        self,
        publication: "Publication",
        first: int,
        block_ids: bytes,
        mark: Mark,
    ) -> None:
        """As HostPages.save."""
        blocks = unpack_ids(block_ids)
        outcomes = publication.outcomes(first, len(blocks))
        wanted = [
            (first + i, block)
            for i, block in enumerate(blocks)
            if block != NO_BLOCK and outcomes[i] in _TO_WRITE
        ]
        for start in range(0, len(wanted), self._batch):
            batch = wanted[start : start + self._batch]
            staging = self._staging(len(batch))
            with self._stream.after(mark):
                self._gather(staging, [block for _, block in batch])
            self._stream.finish()
            host = staging.numpy()
            for i, (position, _) in enumerate(batch):
                for s, slice_number in enumerate(self._slices):
                    page = publication.page(position, slice_number)
                    if page is None:
                        continue  # another was faster meanwhile
                    target = np.frombuffer(memoryview(page), np.uint8)
                    target.reshape(self._page_shape)[...] = host[
                        i, :, :, self._heads(s)
                    ]

    def _heads(self, s: int) -> slice:
        count = self._part.spec.head_count
        return slice(s * count, (s + 1) * count)

    def _staging(self, count: int) -> torch.Tensor:
        staging = getattr(self._local, "staging", None)
        if staging is None:
            staging = self._local.staging = torch.empty(
                (self._batch, *self._block_shape),
                dtype=torch.uint8,
                pin_memory=self._device.type != "cpu",
            )
        return staging[:count]

    def _index(self, blocks: list[int]) -> torch.Tensor:
        return torch.tensor(blocks, dtype=torch.int64).to(self._device)

    def _scatter(self, staging: torch.Tensor, blocks: list[int]) -> None:
        index = self._index(blocks)
        moved = staging.to(self._device, non_blocking=True)
        for number, layer in enumerate(self._layers):
            _, kernel_blocks, heads, tokens, cell = layer.shape
            layer[index] = (
                moved[:, number]
                .reshape(len(blocks), kernel_blocks, tokens, heads, cell)
                .transpose(2, 3)
            )

    def _gather(self, staging: torch.Tensor, blocks: list[int]) -> None:
        index = self._index(blocks)
        moved = torch.empty(
            (len(blocks), *self._block_shape),
            dtype=torch.uint8,
            device=self._device,
        )
        for number, layer in enumerate(self._layers):
            moved[:, number] = (
                layer[index]
                .transpose(2, 3)
                .reshape(len(blocks), *self._block_shape[1:])
            )
        staging.copy_(moved, non_blocking=True)
