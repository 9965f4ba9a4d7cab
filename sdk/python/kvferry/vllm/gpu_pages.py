"""Pages in a device's memory, copied by the SDK's Gpu.

Blocks go between the engine's tensors and the GPU's pool, or host memory, on
streams of the SDK. Nothing here waits for the device: what is started comes
back as a Transfer.
"""

from typing import TYPE_CHECKING

from kvferry.vllm.metadata import as_int64

if TYPE_CHECKING:
    from kvferry import PagedMemory, Prefix, Publication, Transfer
    from kvferry.vllm.device_pages import DevicePages, Mark, StreamLike
    from kvferry.vllm.link import DaemonLink
    from kvferry.vllm.regions import HostPages
    from kvferry.vllm.spec import Part


class GpuPages:
    """The pages of one part on a device that the process could open, or else
    copied by `otherwise`.

    Threads  any number; each block in one copy at a time
    """

    def __init__(
        self,
        part: "Part",
        paged: "PagedMemory",
        stream: "StreamLike",
        link: "DaemonLink",
        otherwise: "HostPages | DevicePages",
    ) -> None:
        self._part = part
        self._paged = paged
        self._stream = stream
        self._link = link
        self._otherwise = otherwise

    def load(
        self, prefix: "Prefix", block_ids: bytes, mark: "Mark"
    ) -> "Transfer | None":
        """As HostPages.load, but that it may go on: the pins are the
        transfer's then."""
        gpu = self._link.gpu
        if gpu is None:
            return self._otherwise.load(prefix, block_ids, mark)
        with self._stream.after(mark):
            return gpu.pull(
                prefix,
                self._paged,
                as_int64(block_ids),
                self._stream.handle(),
                group=self._part.index,
            )

    def save(
        self,
        publication: "Publication",
        first: int,
        block_ids: bytes,
        mark: "Mark",
    ) -> "Transfer | None":
        """As HostPages.save, but that it may go on."""
        gpu = self._link.gpu
        if gpu is None:
            return self._otherwise.save(publication, first, block_ids, mark)
        with self._stream.after(mark):
            # Not committed by itself: a block that was reused meanwhile must
            # not be, which the saver alone knows.
            return gpu.publish(
                publication,
                first,
                self._paged,
                as_int64(block_ids),
                self._stream.handle(),
                commit=False,
            )
