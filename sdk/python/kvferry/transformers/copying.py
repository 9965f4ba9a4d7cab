"""Between pages and the tensors of a cache.

In the CPU's memory the SDK copies by the tensors' own strides; a device's
tensors go through torch, a page at a time.
"""

from array import array

import torch

from kvferry import Page, PagedLayer, PagedMemory, Prefix, Publication
from kvferry.errors import InvalidArgument
from kvferry.transformers.layers import Held
from kvferry.transformers.spec import LayerGroup


def copies_strided(device: torch.device) -> bool:
    """Whether the SDK can reach the tensors."""
    return device.type == "cpu"


def fill(
    publication: Publication,
    position: int,
    found: list[Held],
    group: LayerGroup,
    *,
    held_slices: range,
    own_slices: range,
    first_block: int,
    count: int,
    last_tokens: int = 0,
) -> int:
    """Fills the pages of `count` positions from `position` on with the
    prompt's blocks from `first_block`; how many there were to write.

    The tensors have `held_slices`, the publication writes `own_slices` of
    them. `last_tokens`: valid tokens of the last block, 0: all. When it
    returns the pages are whole: what was copied on a device's stream has
    arrived.
    """
    size = group.spec.block_tokens
    first = first_block * size
    end = first + count * size - (size - last_tokens if last_tokens else 0)
    for layer in found:
        if first < layer.first or end > layer.end:
            raise InvalidArgument(
                f"tokens [{first}, {end}) are not all held: the layer has "
                f"[{layer.first}, {layer.end})"
            )
    if copies_strided(found[0].keys.device):
        paged = _paged(found, group, held_slices, first, count)
        return publication.fill(
            position, paged, array("q", range(count)), last_tokens=last_tokens
        )
    blocks = _to_pages(found, group, held_slices, first, end, count)
    written = 0
    for i in range(count):
        pages = [publication.page(position + i, s) for s in own_slices]
        written += any(page is not None for page in pages)
        for slice, page in zip(own_slices, pages):
            if page is not None:
                _tensor(page, blocks.dtype, blocks.shape[2:]).copy_(
                    blocks[i, slice - held_slices.start]
                )
    _synchronize(blocks.device)
    return written


def copy_out(
    prefix: Prefix,
    group: LayerGroup,
    slices: range,
    dtype: torch.dtype,
    device: torch.device,
    last_tokens: int = 0,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """K and V of a group's pinned blocks, [1, heads, tokens, dim] a layer.

    When it returns the copies have arrived, and the pages were whole while
    they were made (or Aborted is raised): the pins may go.
    """
    spec = group.spec
    first = prefix.first_block(group.number)
    count = prefix.block_count(group.number)
    heads = len(slices) * spec.head_count
    tokens = count * spec.block_tokens
    if copies_strided(device):
        # One allocation a tensor: an engine that lets go of one layer's has
        # that memory back.
        shape = (1, heads, tokens, group.head_dim)
        tensors = [
            (torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype))
            for _ in group.layers
        ]
        found = [
            Held(k, v, first * spec.block_tokens, 0) for k, v in tensors
        ]
        start = first * spec.block_tokens
        prefix.copy_to(
            _paged(found, group, slices, start, count),
            array("q", range(count)),
            group=group.number,
            first=first,
            last_tokens=last_tokens,
        )
        return tensors
    shape = (
        count, len(slices), spec.layer_count, 2, spec.block_tokens,
        spec.head_count, group.head_dim,
    )  # fmt: skip
    blocks = torch.empty(shape, dtype=dtype, device=device)
    for i in range(count):
        for number, slice in enumerate(slices):
            page = prefix.page(first + i, slice, group.number)
            blocks[i, number].copy_(_tensor(page, dtype, shape[2:]))
    _synchronize(device)
    prefix.check()
    # [block, slice, layer, K and V, token, head, dim] to a tensor each.
    ordered = blocks.permute(2, 3, 1, 5, 0, 4, 6)
    whole = ordered.reshape(spec.layer_count, 2, 1, heads, tokens, -1)
    return [(layer[0], layer[1]) for layer in whole]


def _paged(
    found: list[Held], group: LayerGroup, slices: range, first: int, count: int
) -> PagedMemory:
    """The layers' tensors, of which block 0 begins at token `first`."""
    layers = []
    owners = []
    for layer in found:
        keys, values = layer.keys, layer.values
        # The element is the smallest thing that the SDK copies, a head's
        # elements lie side by side; K and V of a layer share their strides.
        if keys.stride(-1) != 1 or keys.stride() != values.stride():
            keys, values = keys.contiguous(), values.contiguous()
        element = keys.element_size()
        token_bytes = keys.stride(2) * element
        base = keys.data_ptr() + (first - layer.first) * token_bytes
        layers.append(
            PagedLayer(
                base,
                kv_stride=values.data_ptr() - keys.data_ptr(),
                block_stride=group.spec.block_tokens * token_bytes,
                token_stride=token_bytes,
                head_stride=keys.stride(1) * element,
            )
        )
        owners.append((keys, values))
    return PagedMemory(
        group.spec,
        layers,
        count,
        slice_first=slices.start,
        slice_count=len(slices),
        owner=owners,
    )


def _to_pages(
    found: list[Held],
    group: LayerGroup,
    slices: range,
    first: int,
    end: int,
    count: int,
) -> torch.Tensor:
    """Tokens [first, end) on their device, as
    [block, slice, layer, K and V, token, head, dim]."""
    size = group.spec.block_tokens
    tensors = torch.stack(
        [
            torch.stack(
                [
                    tensor[0, :, first - layer.first : end - layer.first]
                    for tensor in (layer.keys, layer.values)
                ]
            )
            for layer in found
        ]
    )
    missing = count * size - (end - first)
    if missing:
        tensors = torch.nn.functional.pad(tensors, (0, 0, 0, missing))
    shape = (
        len(found), 2, len(slices), group.slice_heads, count, size,
        group.head_dim,
    )  # fmt: skip
    return tensors.view(shape).permute(4, 2, 0, 1, 5, 3, 6).contiguous()


def _tensor(
    page: Page, dtype: torch.dtype, shape: tuple[int, ...]
) -> torch.Tensor:
    return torch.from_dlpack(page).view(dtype).view(shape)


def _synchronize(device: torch.device) -> None:
    """Waits for the current stream's copies."""
    if device.type == "cpu":
        return
    module = getattr(torch, device.type)
    if hasattr(module, "current_stream"):
        module.current_stream(device).synchronize()
    else:
        module.synchronize()
