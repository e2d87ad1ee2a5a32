"""Weighted sums of elements along one of the last two dimensions: gathered and added up, without a matrix.

ttnn's matrix products keep three digits of float32, and the matrix for a long signal has its length squared in zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce as fold
from math import gcd, prod
from typing import Any, NamedTuple

import torch

from ._gathers import Places, gathered, places_of, read
from ._taps import Taps, mean_windows
from .vocabulary import as_shape, cut, folded, from_sizes, reduce, widen

Make = Callable[..., Taps | None]

# Up to so many elements for each output are gathered one by one; more are gathered at once, and then added up.
FEW_TAPS = 8

# Up to so many windows of different places or lengths are cut out one by one.
FEW_WINDOWS = 8

# How many elements are held when they are gathered at once, with what tiles are padded by.
MOST_GATHERED = 2**27


class Tap(NamedTuple):
    """One element for each output along a dimension."""

    places: Places
    weight: torch.Tensor
    same: float | None  # the weight, if all outputs have one


@from_sizes
def tap_by_tap(make: Make, dim: int, size: int, out: int, *arguments: Any) -> tuple[Tap, ...] | None:
    """The taps along the last dimension (-1) or the one before it (-2) of three; None if the input stays as it is."""
    taps = make(size, out, *arguments)
    if taps is None:
        return None

    def tap(index: torch.Tensor, weight: torch.Tensor) -> Tap:
        same = float(weight[0]) if bool((weight == weight[0]).all()) else None
        return Tap(places_of(index, dim), weight.reshape([1, 1, out] if dim == -1 else [1, out, 1]), same)

    return tuple(map(tap, taps.places, taps.weight))


@from_sizes
def all_taps(make: Make, size: int, out: int, *arguments: Any) -> Taps:
    """The taps of each output behind those of the one before: indices as one row, weights as (1, outputs, taps)."""
    taps = make(size, out, *arguments)
    assert taps is not None
    return Taps(taps.places.mT.reshape(1, 1, -1).to(torch.uint32), taps.weight.mT.contiguous()[None])


@from_sizes
def falls_short(make: Make, size: int, out: int, *arguments: Any) -> tuple[int, ...]:
    """The outputs that have fewer taps than others."""
    taps = make(size, out, *arguments)
    return () if taps is None else tuple((taps.places == size).any(0).nonzero().flatten().tolist())


def weighed(tt: Any, x: Any, dim: int, out: int, make: Make, *arguments: Any) -> Any:
    """`x`, in float32, with its last dimension (-1) or the one before it (-2) made of weighted sums of its elements."""
    shape = list(x.shape)
    size = shape[dim]
    taps = tap_by_tap(make, dim, size, out, *arguments)
    if taps is None:
        return x
    x = folded(tt, x, 3)
    if falls_short(make, size, out, *arguments):
        x = tt.pad(x, [(0, 0), (0, int(dim == -2)), (0, int(dim == -1))], 0)  # the element that its other taps read
    if len(taps) > FEW_TAPS:
        result = weighed_at_once(tt, x, dim, all_taps(make, size, out, *arguments))
    elif len({tap.same for tap in taps}) == 1 and taps[0].same is not None:
        result = fold(tt.add, (read(tt, x, dim, tap.places) for tap in taps))
        result = tt.multiply(result, taps[0].same) if taps[0].same != 1 else result
    else:
        weights = (tap.same if tap.same is not None else widen(tt, tt.constant(tap.weight)) for tap in taps)
        parts = (tt.multiply(read(tt, x, dim, tap.places), weight) for tap, weight in zip(taps, weights, strict=True))
        result = fold(tt.add, parts)
    shape[dim] = out
    return as_shape(tt, result, shape)


def weighed_at_once(tt: Any, x: Any, dim: int, taps: Taps) -> Any:
    """The sums of many taps, with one gather."""
    if dim == -2:
        return tt.transpose(weighed_at_once(tt, tt.transpose(x, -2, -1), -1, taps), -2, -1)
    outer, height, _ = x.shape
    _, out, count = taps.weight.shape
    rows = gathered(tt, x, 2, tt.constant(taps.places))
    terms = tt.multiply(as_shape(tt, rows, [outer * height, out, count]), widen(tt, tt.constant(taps.weight)))
    return as_shape(tt, reduce(tt, "sum", terms, -1), [outer, height, out])


def held_at_once(shape: tuple[int, ...], dim: int, out: int, make: Make, *arguments: Any) -> int:
    """How many elements `weighed` holds for its gather of a tensor of this shape, if it makes one for all taps."""
    taps = tap_by_tap(make, dim, shape[dim], out, *arguments)
    if taps is None or len(taps) <= FEW_TAPS:
        return 0
    return prod(shape) // shape[dim] * in_tiles(out) * in_tiles(len(taps))


def in_tiles(size: int) -> int:
    return -(-size // 32) * 32


def pooled_at_once(shape: tuple[int, ...], dim: int, out: int) -> int:
    """The same of `averaged`."""
    _, windows = window_pattern(shape[dim], out)
    return held_at_once(shape, dim, out, mean_windows) if windows is None else 0


def averaged(tt: Any, x: Any, dim: int, out: int) -> Any:
    """The means of the windows of an adaptive pool of `x`, in float32, along one of the last two dimensions."""
    shape = list(x.shape)
    taps, windows = window_pattern(shape[dim], out)
    if taps or windows is None:
        return weighed(tt, x, dim, out, mean_windows)
    dim %= len(shape)
    every = gcd(shape[dim], out)
    # The windows lie alike in each part of the dimension.
    x = as_shape(tt, x, [*shape[:dim], every, shape[dim] // every, *shape[dim + 1 :]])
    means = [reduce(tt, "mean", cut(tt, x, dim + 1, *window), dim + 1, keepdim=True) for window in windows]
    shape[dim] = out
    return as_shape(tt, means[0] if len(means) == 1 else tt.concat(means, dim + 1), shape)


@from_sizes
def window_pattern(size: int, out: int) -> tuple[bool, tuple[tuple[int, int], ...] | None]:
    """Whether few taps do; the first and the end of each window until they repeat, if these are few."""
    every = gcd(size, out)
    part, count = size // every, out // every
    if count > FEW_WINDOWS:
        return False, None
    windows = tuple((i * part // count, -(-(i + 1) * part // count)) for i in range(count))
    return size == out or max(end - first for first, end in windows) <= FEW_TAPS // 2, windows
