"""vLLM's pages of one part, as something to copy from and to.

vLLM registers a tensor a layer: [block, head, token, cell] by meaning, in any
order of strides, where a block may be several of the kernel's. That meaning
is the interface (vLLM's KVCacheLayout); what a tensor has to be follows from
the cache specification and is checked, and addresses are taken from its
strides.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from kvferry import PagedLayer, PagedMemory
from kvferry.vllm.device_pages import DevicePages, stream_of
from kvferry.vllm.gpu_pages import GpuPages
from kvferry.vllm.metadata import as_int64
from kvferry.vllm.spec import UnsupportedConfiguration

if TYPE_CHECKING:
    from kvferry import Prefix, Publication
    from kvferry.vllm.device_pages import Mark
    from kvferry.vllm.link import DaemonLink
    from kvferry.vllm.spec import NamespaceLayout, Part


class HostPages:
    """Pages in memory that this process can read and write itself.

    Threads  any number; each block in one copy at a time
    """

    def __init__(self, part: "Part", paged: PagedMemory) -> None:
        self._part = part
        self._paged = paged

    def load(
        self, prefix: "Prefix", block_ids: bytes, mark: "Mark"
    ) -> None:
        """Copies the first blocks of the hit. Raises Aborted when they cannot
        be trusted. What was launched before `mark` is over."""
        prefix.copy_to(
            self._paged, as_int64(block_ids), group=self._part.index
        )

    def save(
        self,
        publication: "Publication",
        first: int,
        block_ids: bytes,
        mark: "Mark",
    ) -> None:
        """Fills what the publication is to write of [first, first + n)."""
        publication.fill(first, self._paged, as_int64(block_ids))


Pages = HostPages | DevicePages | GpuPages


def pages_of(
    layout: "NamespaceLayout",
    part: "Part",
    rank: int,
    kv_caches: Mapping[str, torch.Tensor],
    block_count: int,
    *,
    by_torch: bool = False,
    link: "DaemonLink | None" = None,
) -> Pages:
    """`by_torch` copies by torch where it would not be needed. Copies are the
    SDK's where `link` has a device.

    Raises UnsupportedConfiguration for tensors that are not what the cache
    specification says.
    """
    layers = [
        _checked(part, name, kv_caches.get(name), block_count)
        for name in part.layer_names
    ]
    if len({len(layer) for layer in layers}) != 1:
        raise UnsupportedConfiguration(
            f"cache group {part.group}: layers with different numbers of "
            "kernel blocks"
        )
    slices = layout.slices(part, rank)
    device = layers[0].device
    paged = PagedMemory(
        part.spec,
        [_paged_layer(layer) for layer in layers],
        block_count,
        slice_first=slices[0],
        slice_count=slices[1],
        sub_blocks=len(layers[0]) // block_count,
        owner=tuple(layers),
        on_device=device.type != "cpu",
    )
    pages: HostPages | DevicePages
    if device.type == "cpu" and not by_torch:
        pages = HostPages(part, paged)
    else:
        pages = DevicePages(
            part, layers, slices, block_count, stream_of(device)
        )
    if link is None or link.device is None:
        return pages
    return GpuPages(part, paged, stream_of(device), link, otherwise=pages)


def _checked(
    part: "Part",
    name: str,
    tensor: torch.Tensor | None,
    block_count: int,
) -> torch.Tensor:
    where = f"cache group {part.group}, layer {name}"
    if tensor is None:
        raise UnsupportedConfiguration(f"{where}: no tensor was registered")
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 4:
        raise UnsupportedConfiguration(
            f"{where}: registered is {_describe(tensor)}, need a tensor of "
            "block, head, token and cell"
        )
    kernel_blocks, heads, tokens, _ = tensor.shape
    cell_bytes = tensor.shape[3] * tensor.element_size()
    sub_blocks = kernel_blocks // block_count
    if (
        sub_blocks == 0
        or kernel_blocks != sub_blocks * block_count
        or sub_blocks * tokens != part.block_tokens
        or heads != part.heads_per_rank
        or cell_bytes != part.cell_bytes
        or tensor.stride(3) != 1
    ):
        raise UnsupportedConfiguration(
            f"{where}: registered is {_describe(tensor)}; {block_count} "
            f"blocks of {part.block_tokens} tokens (or whole fractions of "
            f"that), {part.heads_per_rank} heads and cells of "
            f"{part.cell_bytes} contiguous bytes are needed"
        )
    return tensor


def _describe(tensor: object) -> str:
    if not isinstance(tensor, torch.Tensor):
        return type(tensor).__name__
    return (
        f"{tuple(tensor.shape)} of {tensor.dtype} with strides "
        f"{tuple(tensor.stride())}"
    )


def _paged_layer(tensor: torch.Tensor) -> PagedLayer:
    item = tensor.element_size()
    return PagedLayer(
        tensor.data_ptr(),
        block_stride=tensor.stride(0) * item,
        head_stride=tensor.stride(1) * item,
        token_stride=tensor.stride(2) * item,
    )
