"""Kernels of convolutions, as ttnn.conv2d takes them."""

from __future__ import annotations

from math import prod

from ..on_demand import OnDemand
from .vocabulary import cut, permuted, shape_of


def with_one(shape, one):
    """A sequence's shape as an image's, with one row (0) or one column (1)."""
    sizes = list(shape)
    return [*sizes[: one + 2], 1, *sizes[one + 2 :]]


def to_kernel(tt, weight, one, transposed, groups):
    """The weight as ttnn.conv2d takes it; one that comes on demand does so still."""
    if len(weight.shape) == 4 and not transposed:
        return weight
    if not isinstance(weight, OnDemand):
        return turned_kernel(tt, weight, one, transposed, groups)
    form = (one, transposed, groups)
    source = tt.prepared(weight, f"convolution kernel {form}", object)
    sizes = list(weight.shape if one is None else with_one(weight.shape, one))
    if transposed:
        sizes[:2] = [sizes[1] * groups, sizes[0] // groups]
    shape = of_planes(sizes) if len(sizes) == 5 else tuple(sizes)
    return weight.turned(shape, source, lambda value: turned_kernel(tt, value, *form))


def of_planes(sizes):
    """The shape of a volume's kernel as an image's, whose channels have a plane each."""
    outs, channels, deep, rows, columns = sizes
    return outs, deep * channels, rows, columns


def turned_kernel(tt, weight, one, transposed, groups):
    """A sequence's or a volume's weight as an image's; that of a transposed convolution turned round."""
    if one is not None:
        weight = tt.reshape(weight, with_one(weight.shape, one))
    if transposed:
        ins, outs, *sizes = shape_of(weight)
        weight = tt.reshape(weight, [groups, ins // groups, outs, prod(sizes)])
        weight = tt.reshape(tt.permute(weight, [0, 2, 1, 3]), [groups * outs, ins // groups, *sizes])
        for dim in range(2, 2 + len(sizes)):
            weight = turned(tt, weight, dim)
    if len(weight.shape) == 4:
        return weight
    sizes = shape_of(weight)
    outs, channels, deep, rows, columns = sizes
    planes = permuted(tt, tt.reshape(weight, [outs, channels, deep, rows * columns]), [0, 2, 1, 3])
    return tt.reshape(planes, list(of_planes(sizes)))


def turned(tt, x, dim):
    """`x` with a dimension in reverse order."""
    size = x.shape[dim]
    return tt.concat([cut(tt, x, dim, i, i + 1) for i in reversed(range(size))], dim) if size > 1 else x
