"""conv2d of float32 values: the product of the image's patches with the kernel.

Splitting the factors, as for matrix products, does not help ttnn.conv2d: it reads its sums back through a register that
has 10 bits of mantissa.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ..on_demand import on_device
from .cost import require_room, tiles
from .products import product, shaped

Value = Any

_ALIGNED = 8  # ttnn can concatenate rows whose length is a multiple of this many float32 values


class _Side(NamedTuple):
    """One dimension of the image, rows or columns: the kernel's size, and its positions."""

    kernel: int
    stride: int
    dilation: int
    places: int


def convolution(
    tt: Any,
    x: Value,
    weight: Value,
    *,
    bias_tensor: Value | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    **_: Any,
) -> Value:
    """`ttnn.conv2d` of an image (N, H, W, C) with a kernel (O, C / groups, rows, columns): (1, 1, N * H * W, O)."""
    n, height, width, channels = x.shape
    top, bottom, left, right = padding
    rows, columns = (
        _Side(k, s, d, (size - d * (k - 1) - 1) // s + 1)
        for k, s, d, size in zip(
            kernel_size, stride, dilation, (height + top + bottom, width + left + right), strict=True
        )
    )
    places = n * rows.places * columns.places
    require_room(2 * tiles([places, rows.kernel * columns.kernel * channels]))
    taps = _patches(tt, x, ((0, 0), (top, bottom), (left, right)), rows, columns)
    count = rows.kernel * columns.kernel
    taps = tt.reshape(taps, [places, count, prod(taps.shape) // (places * count)])
    made = _combined(tt, taps, weight, channels, groups)
    made = tt.reshape(made, [1, 1, places, weight.shape[0]])
    if bias_tensor is None:
        return made
    return tt.add(made, tt.prepared(bias_tensor, "in tiles", lambda: tt.to_layout(bias_tensor, tt.TILE_LAYOUT)))


def _combined(tt: Any, taps: Value, weight: Value, channels: int, groups: int) -> Value:
    """The sums over the taps of (places, taps, channels). Channels that the kernel does not have are zeros."""
    places, count, held = taps.shape
    outs, each = weight.shape[0], channels // groups
    if groups == 1:
        kernel = tt.prepared(weight, ("rows", held), lambda: _kernel(tt, weight, [outs, count * held], held))
        return product(tt, _in_tiles(tt, tt.reshape(taps, [places, count * held])), kernel, False, True)
    if held != channels:
        taps = tt.slice(taps, [0, 0, 0], [places, count, channels])
    if each == 1 and outs == channels:
        kernel = tt.prepared(weight, "taps", lambda: _taps(tt, weight, count))
        require_room(2 * tiles([places, count, channels]))
        return tt.sum(tt.multiply(_in_tiles(tt, taps), kernel), dim=1)
    taps = tt.permute(tt.reshape(taps, [places, count, groups, each]), [2, 0, 1, 3])
    kernel = tt.prepared(weight, "groups", lambda: _kernel(tt, weight, [groups, outs // groups, count * each], each))
    made = product(tt, _in_tiles(tt, tt.reshape(taps, [groups, places, count * each])), kernel, False, True)
    return tt.permute(made, [1, 0, 2])


def _patches(tt: Any, x: Value, padding: tuple[tuple[int, int], ...], rows: _Side, columns: _Side) -> Value:
    """The patch of the image at each place of the kernel, row-major, with its channels padded with zeros if needed."""
    n, *_, channels = x.shape
    x = tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)
    one = rows.kernel == columns.kernel == 1
    side_by_side = all((side.kernel, side.dilation) == (side.stride, 1) for side in (rows, columns))
    fill = 0 if one or side_by_side else -channels % _ALIGNED
    if fill or any(map(any, padding)):
        x = tt.pad(x, [*padding, (0, fill)], 0)
    if one or not side_by_side:
        return _behind_each_other(tt, _behind_each_other(tt, x, 2, columns), 1, rows)
    size = [n, rows.places * rows.kernel, columns.places * columns.kernel, channels]
    if list(x.shape) != size:
        x = tt.slice(x, [0, 0, 0, 0], size)
    x = tt.reshape(x, [n * rows.places, rows.kernel, columns.places, columns.kernel * channels])
    return tt.permute(x, [0, 2, 1, 3])


def _behind_each_other(tt: Any, x: Value, dim: int, side: _Side) -> Value:
    """The patches along one dimension: the elements under the kernel are concatenated as channels."""
    shape = list(x.shape)
    if side.kernel == side.stride == 1:
        return x
    parts = []
    for place in range(side.kernel):
        starts, stops, steps = [0] * 4, list(shape), [1] * 4
        starts[dim], steps[dim] = place * side.dilation, side.stride
        stops[dim] = starts[dim] + (side.places - 1) * side.stride + 1
        parts.append(tt.slice(x, starts, stops, steps))
    return parts[0] if len(parts) == 1 else tt.concat(parts, 3)


def _kernel(tt: Any, weight: Value, shape: list[int], channels: int) -> Value:
    """The kernel as rows in the order of the patches, with zeros for channels that it does not have."""
    weight = tt.permute(tt.to_layout(on_device(weight), tt.ROW_MAJOR_LAYOUT), [0, 2, 3, 1])
    fill = channels - weight.shape[3]
    weight = tt.pad(weight, [(0, 0), (0, 0), (0, 0), (0, fill)], 0) if fill else weight
    return _in_tiles(tt, shaped(tt, weight, shape))


def _taps(tt: Any, weight: Value, count: int) -> Value:
    """A depthwise kernel as (1, taps, channels)."""
    weight = tt.permute(tt.to_layout(on_device(weight), tt.ROW_MAJOR_LAYOUT), [1, 2, 3, 0])
    return _in_tiles(tt, tt.reshape(weight, [1, count, weight.shape[3]]))


def _in_tiles(tt: Any, x: Value) -> Value:
    return tt.to_layout(x, tt.TILE_LAYOUT)
