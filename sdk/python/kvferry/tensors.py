"""An engine's paged tensors, of whatever library, as PagedMemory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvferry._core import (
    GroupSpec,
    PagedLayer,
    PagedMemory,
    _tensor_place,
)
from kvferry.errors import InvalidArgument

# Axes of a tensor: K and V, block, token, head, and what a head has.
_AXES = "kbthd"
_NEEDED = "btd"


@dataclass(frozen=True)
class _View:
    """Where a tensor lies; strides are bytes."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item_bytes: int
    device: str  # "cpu", "cuda:0"


def paged_memory(
    group: GroupSpec,
    layers: Sequence[Any],
    axes: str = "kbthd",
    *,
    slice_first: int = 0,
    slice_count: int = 0,
) -> PagedMemory:
    """Describes one tensor a layer, which are kept alive with the result.

    A tensor is one of PyTorch, or something with __cuda_array_interface__
    (CuPy, Numba), DLPack (JAX) or the buffer protocol (NumPy), in host memory
    or on a CUDA device. `axes` has a letter for each of its dimensions: k K and
    V, b block, t token, h head, d what a head has; k and h may be missing. A
    layer may also be a pair of tensors without k, of K and V. Blocks of fewer
    tokens than the group's are parts of one.

    Raises InvalidArgument for tensors that do not fit the group.
    """
    if not layers:
        raise InvalidArgument("layers: none, need one a layer of the group")
    _check_axes(axes)
    pairs = [_views(layer) for layer in layers]
    first = pairs[0][0]
    described = [
        _paged_layer(group, pair, axes, first.device) for pair in pairs
    ]
    tokens, blocks = (first.shape[axes.index(axis)] for axis in "tb")
    heads = first.shape[axes.index("h")] if "h" in axes else 1
    _check_sizes(
        "heads",
        heads,
        group.head_count * (slice_count or group.slice_count - slice_first),
    )
    sub_blocks, rest = divmod(group.block_tokens, max(tokens, 1))
    if sub_blocks == 0 or rest or blocks % sub_blocks:
        raise InvalidArgument(
            f"layers: {blocks} blocks of {tokens} tokens, need blocks of "
            f"{group.block_tokens} tokens or of whole fractions of that"
        )
    if any(pair[0].shape != first.shape for pair in pairs):
        raise InvalidArgument("layers: their shapes differ")
    if first.device != "cpu" and not first.device.startswith("cuda"):
        raise InvalidArgument(
            f"layers: on {first.device}, need host memory or a CUDA device"
        )
    return PagedMemory(
        group,
        described,
        blocks // sub_blocks,
        slice_first=slice_first,
        slice_count=slice_count,
        sub_blocks=sub_blocks,
        owner=tuple(layers),
        on_device=first.device != "cpu",
    )


def _check_axes(axes: str) -> None:
    if (
        len(set(axes)) != len(axes)
        or not set(_NEEDED) <= set(axes) <= set(_AXES)
    ):
        raise InvalidArgument(
            f'axes: "{axes}", need each of "{_NEEDED}" once, and "k" and "h" '
            "at most once"
        )


def _views(layer: Any) -> tuple[_View, ...]:
    if isinstance(layer, tuple | list):
        if len(layer) != 2:
            raise InvalidArgument(
                f"layers: {len(layer)} tensors in one, need one, or K and V"
            )
        return _view(layer[0]), _view(layer[1])
    return (_view(layer),)


def _paged_layer(
    group: GroupSpec, views: tuple[_View, ...], axes: str, device: str
) -> PagedLayer:
    view = views[0]
    if any(each.device != device for each in views):
        raise InvalidArgument("layers: not all on one device")
    if len(view.shape) != len(axes):
        raise InvalidArgument(
            f'layers: {len(view.shape)} dimensions, "{axes}" has {len(axes)}'
        )
    stride = dict(zip(axes, view.strides, strict=True))
    size = dict(zip(axes, view.shape, strict=True))
    kv_stride = stride.get("k", 0)
    kv_count = size.get("k", 1)
    if len(views) > 1:
        if "k" in axes:
            raise InvalidArgument(
                f'axes: "{axes}", but K and V are tensors of their own'
            )
        if views[1].strides != view.strides or views[1].shape != view.shape:
            raise InvalidArgument("layers: K and V are laid out differently")
        kv_stride = views[1].address - view.address
        kv_count = len(views)
    _check_sizes("K and V", kv_count, group.kv_count)
    if stride["d"] != view.item_bytes:
        raise InvalidArgument(
            f"layers: what a head has lies {stride['d']} bytes apart, need "
            f"{view.item_bytes}: contiguous"
        )
    _check_sizes("bytes a head", size["d"] * view.item_bytes, group.head_bytes)
    return PagedLayer(
        view.address,
        kv_stride=kv_stride,
        block_stride=stride["b"],
        token_stride=stride["t"],
        head_stride=stride.get("h", 0),
    )


def _check_sizes(what: str, there: int, needed: int) -> None:
    if there != needed:
        raise InvalidArgument(
            f"layers: {there} {what}, the group has {needed}"
        )


def _view(tensor: Any) -> _View:
    # PyTorch's own words, which know every dtype and want no gradients.
    if hasattr(tensor, "data_ptr") and hasattr(tensor, "element_size"):
        item_bytes = int(tensor.element_size())
        device = tensor.device
        return _View(
            int(tensor.data_ptr()),
            tuple(tensor.shape),
            tuple(stride * item_bytes for stride in tensor.stride()),
            item_bytes,
            "cpu" if device.type == "cpu" else str(device),
        )
    if hasattr(tensor, "__cuda_array_interface__"):
        return _of_interface(tensor.__cuda_array_interface__)
    address, shape, strides, item_bytes, device = _tensor_place(tensor)
    return _View(address, shape, strides, item_bytes, device)


def _of_interface(interface: dict[str, Any]) -> _View:
    """Of __cuda_array_interface__, which does not say which device."""
    shape = tuple(interface["shape"])
    # As in "<f2"; a character of kind, then the bytes.
    item_bytes = int(interface["typestr"][2:])
    strides = interface.get("strides")
    if strides is None:
        strides = tuple(
            item_bytes * math.prod(shape[i + 1 :]) for i in range(len(shape))
        )
    return _View(
        interface["data"][0], shape, tuple(strides), item_bytes, "cuda"
    )
