"""What resamples each of the last two dimensions by itself: the rows that are taken, or the weights they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import torch

from ._compute import accurate, cast, widen
from ._kept import from_sizes
from .embedding import rows_of
from .views import as_shape, cut


@from_sizes
def weights(op: Callable[..., torch.Tensor], size: int, out: int, *arguments: Any) -> torch.Tensor | None:
    """The matrix (size, out) by which `op`, linear in rows and in columns, multiplies the rows; None for the identity.

    It is what the op makes of the unit vectors, so that every border and rounding is PyTorch's own.
    """
    units = torch.eye(size)
    matrix = op(units[None, None], [out, size], *arguments)[0, 0].mT.contiguous()
    return None if torch.equal(matrix, units) else matrix


def weigh(tt: Any, x: Any, rows: torch.Tensor | None, columns: torch.Tensor | None) -> Any:
    """`x` with its columns (the last dimension) and its rows each multiplied by a matrix of `weights`."""
    result = widen(tt, x)
    if columns is not None:
        result = product(tt, result, columns)
    if rows is not None:
        result = tt.transpose(product(tt, tt.transpose(result, -2, -1), rows), -2, -1)
    return cast(tt, result, x.dtype)


def product(tt: Any, x: Any, matrix: torch.Tensor) -> Any:
    """`x` times a host matrix, in float32."""
    return tt.matmul(x, widen(tt, tt.constant(matrix)), compute_kernel_config=accurate(tt))


# PyTorch has one kernel for small outputs, of so many rows and columns together, and another for large ones.
SMALL_OUTPUT = 128


def sources(op: Callable[..., torch.Tensor], dim: int, size: int, output: Any, scales: Any) -> tuple[int, ...]:
    """Which elements `op`, which takes the nearest, takes along a dimension of `size`, counted from the first one that
    it resamples; `output` and `scales` are the sizes and scales of all of these."""
    return taken(op, dim, size, tuple(output), tuple(scales), 1)


def sources_in_channels_last(
    op: Callable[..., torch.Tensor], dim: int, size: int, output: Any, scales: Any
) -> tuple[int, ...]:
    """The same of a channels-last tensor of more than three channels, for which PyTorch has a kernel of its own."""
    return taken(op, dim, size, tuple(output), tuple(scales), 4)


@from_sizes
def taken(op: Callable[..., torch.Tensor], dim: int, size: int, output: tuple, scales: tuple, channels: int) -> tuple:
    """What the op itself makes of numbered elements, in an output that is as small or large as the call's."""
    sizes = [size if d == dim else 1 for d in range(len(output))]
    outs = [out if d == dim else min(out, SMALL_OUTPUT) for d, out in enumerate(output)]
    numbered = torch.arange(size).float().reshape(1, 1, *sizes).expand(1, channels, *sizes)
    if channels > 1:
        numbered = numbered.movedim(1, -1).contiguous().movedim(-1, 1)
    result = op(numbered, outs, *scales).movedim(dim + 2, -1)
    return tuple(map(int, result.reshape(-1, outs[dim])[0]))


@functools.lru_cache(maxsize=1024)
def as_repeat(size: int, indices: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(repeat, start, step) if the indices are what a slice takes of a row whose elements are repeated; else None."""
    first, last, steps = indices[0], indices[-1], max(len(indices) - 1, 1)
    for repeat in range(1, 5):
        least = (last - first) * repeat // steps
        for step in range(max(least, 1), least + 2):
            for start in range(first * repeat, (first + 1) * repeat):
                if all((start + i * step) // repeat == index for i, index in enumerate(indices)):
                    return repeat, start, step
    return None


def take(tt: Any, x: Any, dim: int, indices: tuple[int, ...]) -> Any:
    """The elements of `x` at `indices` along the last dimension (-1) or the one before it (-2), exactly."""
    plan = as_repeat(x.shape[dim], indices)
    if dim == -1 and (plan is None or plan[0] > 1):
        return tt.transpose(take(tt, tt.transpose(x, -2, -1), -2, indices), -2, -1)
    if plan is not None:
        repeat, start, step = plan
        x = repeated(tt, x, len(x.shape) + dim, repeat)
        return cut(tt, x, dim, start, start + (len(indices) - 1) * step + 1, step)
    *outer, height, width = x.shape
    index = tt.typecast(tt.constant(rows(prod(outer), height, indices)), tt.uint32)
    return as_shape(tt, rows_of(tt, as_shape(tt, x, [-1, width]), index), [*outer, len(indices), width])


def repeated(tt: Any, x: Any, dim: int, times: int) -> Any:
    """Each slice `times` times in a row, along a dimension that is not the last.

    Not by ttnn.repeat_interleave, which rounds what is no bfloat16 to it.
    """
    if times == 1:
        return x
    shape = list(x.shape)
    parts = as_shape(tt, x, [prod(shape[: dim + 1]), prod(shape[dim + 1 : -1]), shape[-1]])
    shape[dim] *= times
    return as_shape(tt, tt.concat([parts] * times, 1), shape)


@from_sizes
def rows(images: int, height: int, indices: tuple[int, ...]) -> torch.Tensor:
    """The `indices` of the rows of each image, counted through all of them."""
    first = torch.arange(0, images * height, height, dtype=torch.int32)
    return (first[:, None] + torch.tensor(indices, dtype=torch.int32)).flatten()
