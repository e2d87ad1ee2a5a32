"""Interpolation that takes the nearest elements, along each of the last two dimensions by itself."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch

from ._gathers import Places, places_of, read
from .vocabulary import as_shape, cut, folded, from_sizes

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
    numbered = torch.arange(size, dtype=torch.float32).reshape(1, 1, *sizes).expand(1, channels, *sizes)
    if channels > 1:
        numbered = numbered.movedim(1, -1).contiguous().movedim(-1, 1)
    result = op(numbered, outs, *scales).movedim(dim + 2, -1)
    return tuple(map(int, result.reshape(-1, outs[dim])[0]))


def as_repeat(indices: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(repeat, start, step) if the indices are what a slice takes of a row whose elements are repeated; else None."""
    first, last, steps = indices[0], indices[-1], max(len(indices) - 1, 1)
    for repeat in range(1, 5):
        least = (last - first) * repeat // steps
        for step in range(max(least, 1), least + 2):
            for start in range(first * repeat, (first + 1) * repeat):
                if all((start + i * step) // repeat == index for i, index in enumerate(indices)):
                    return repeat, start, step
    return None


class Moves(NamedTuple):
    """How elements are taken: from a slice of what is repeated, or gathered where they are not repeated."""

    repeat: int
    start: int
    step: int
    places: Places | None


@from_sizes
def moves(
    op: Callable[..., torch.Tensor], along: int, dim: int, size: int, output: tuple, scales: tuple
) -> Moves | None:
    """How to take what `sources` names, along the last dimension (-1) or the one before it; None if that is all."""
    indices = sources(op, along, size, output, scales)
    if indices == tuple(range(size)):
        return None
    plan = as_repeat(indices) if dim == -2 else None
    if plan is not None and plan[0] > 1:
        return Moves(*plan, None)
    return Moves(1, 0, 1, places_of(torch.tensor(indices, dtype=torch.int32, device="cpu"), dim))


def take(tt: Any, x: Any, dim: int, op: Callable[..., torch.Tensor], along: int, output: Any, scales: Any) -> Any:
    """The elements of `x` that `op`, which takes the nearest, takes along the last dimension (-1) or the one before it
    (-2); of those that it resamples, this is number `along`."""
    plan = moves(op, along, dim, x.shape[dim], tuple(output), tuple(scales))
    if plan is None:
        return x
    shape = list(x.shape)
    shape[dim] = output[along]
    x = folded(tt, x, 3)
    if plan.places is not None:
        return as_shape(tt, read(tt, x, dim, plan.places), shape)
    x = repeated(tt, x, 3 + dim, plan.repeat)
    return as_shape(
        tt, cut(tt, x, 3 + dim, plan.start, plan.start + (shape[dim] - 1) * plan.step + 1, plan.step), shape
    )


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
