"""Tensors in other shapes: reshaped, cut, with their dimensions in another order, or folded into fewer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

# How many elements of a row ttnn's slice and repeat can keep in L1, in any dtype.
ROW = 131072


def shape_of(x: Any) -> list[int]:
    """The shape as a list. ttnn ends the iteration over a shape with an exception of C++, which takes microseconds."""
    shape = x.shape
    return [shape[dim] for dim in range(len(shape))]


def as_shape(tt: Any, x: Any, shape: Sequence[int]) -> Any:
    """`x` with another shape of as many elements, without a call if it has that shape."""
    return x if x.shape == shape else tt.reshape(x, list(shape))


def folded(tt: Any, x: Any, rank: int) -> Any:
    """`x` in `rank` dimensions, the first of which holds all that come before the last `rank - 1`.

    Of a rank of 2 these are the rows of its last dimension; fewer dimensions than asked for are filled up with ones.
    """
    shape = shape_of(x)
    rest = shape[len(shape) - rank + 1 :] if len(shape) >= rank else shape
    return as_shape(tt, x, [prod(shape[: len(shape) - len(rest)]), *[1] * (rank - 1 - len(rest)), *rest])


def around(shape: Sequence[int], dim: int) -> list[int]:
    """(before, size, after): how many elements come before a dimension, counted from 0, lie along it, and behind it.

    In this shape a lowering works along any one dimension of a tensor of any rank.
    """
    return [prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])]


def cut(tt: Any, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    """`x[start:stop:step]` along one dimension, without a call if that is all of it."""
    shape = shape_of(x)
    if (start, stop, step) == (0, shape[dim], 1):
        return x
    starts, stops, steps = [0] * len(shape), shape, [1] * len(shape)
    starts[dim], stops[dim], steps[dim] = start, stop, step
    return tt.slice(x, starts, stops, steps)


def moved_first(dims: Iterable[int], rank: int) -> list[int]:
    """The order of `rank` dimensions in which `dims` are the first, in their order, for `permuted`."""
    dims = [dim % rank for dim in dims]
    return [*dims, *(dim for dim in range(rank) if dim not in dims)]


def moved_last(dims: Iterable[int], rank: int) -> list[int]:
    """The order of `rank` dimensions in which `dims` are the last, in their order, for `permuted`."""
    dims = [dim % rank for dim in dims]
    return [*(dim for dim in range(rank) if dim not in dims), *dims]


def permuted(tt: Any, x: Any, order: Sequence[int]) -> Any:
    """`x` with its dimensions in this order, without a call if that is the order they have."""
    return x if list(order) == sorted(order) else tt.permute(x, list(order))


def permuted_back(tt: Any, x: Any, order: Sequence[int]) -> Any:
    """`x`, whose dimensions `permuted` brought into this order, with them in their own order again."""
    return permuted(tt, x, [order.index(dim) for dim in range(len(order))])
