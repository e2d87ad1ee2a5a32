"""Which elements an interpolation or an uneven pool reads for each of its outputs, and what weight each of them has.

All in float32, in which PyTorch finds places and weights too, and by its formulas: which elements have a weight of
zero, and so make NaN of an infinity, is the same then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..pytorch_private import IS_2_14
from .vocabulary import from_sizes


class Taps(NamedTuple):
    """What each output along a dimension is the weighted sum of."""

    places: torch.Tensor  # (taps, outputs); the dimension's size where an output has fewer taps than others
    weight: torch.Tensor  # (taps, outputs)


def numbers(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32, device="cpu")


def step(size: int, out: int, align_corners: bool, scale: float | None) -> float:
    """How far apart, in elements, two neighbouring outputs lie."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / scale if scale else size / out


def centers(size: int, out: int, align_corners: bool, scale: float | None) -> torch.Tensor:
    """Where the outputs lie between the elements."""
    apart, places = torch.tensor(step(size, out, align_corners, scale), dtype=torch.float32, device="cpu"), numbers(out)
    if align_corners:
        return apart * places
    if IS_2_14:  # its kernels are compiled so that a product and what is added to it are rounded once
        return (apart.double() * (places + 0.5).double() - 0.5).float()
    return apart * (places + 0.5) - 0.5


@from_sizes
def linear(size: int, out: int, align_corners: bool, scale: float | None) -> Taps | None:
    """The element before and the one behind each output; None if the size stays, whatever the scale."""
    if size == out:
        return None
    at = centers(size, out, align_corners, scale).clamp(min=0.0)
    before = at.floor().clamp(max=size - 1)
    share = (at - before).clamp(0.0, 1.0)
    index = torch.stack([before, (before + 1).clamp(max=size - 1)]).int()
    return Taps(index, torch.stack([1 - share, share]))


def near(distance: torch.Tensor, a: float) -> torch.Tensor:
    """The cubic kernel up to a distance of 1."""
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1


def far(distance: torch.Tensor, a: float) -> torch.Tensor:
    """The cubic kernel at distances from 1 to 2."""
    return ((distance - 5) * distance + 8) * distance * a - 4 * a


@from_sizes
def cubic(size: int, out: int, align_corners: bool, scale: float | None) -> Taps | None:
    """Two elements before and two behind each output; None if they are the elements themselves."""
    if size == out and step(size, out, align_corners, scale) == 1:
        return None
    at = centers(size, out, align_corners, scale)
    before = at.floor().clamp(max=size - 1)
    share, a = (at - before).clamp(0.0, 1.0), -0.75
    index = torch.stack([before - 1, before, before + 1, before + 2]).clamp(0, size - 1).int()
    weight = torch.stack([far(share + 1, a), near(share, a), near(1 - share, a), far(2 - share, a)])
    return Taps(index, weight)


# How far the kernels of antialiased interpolations go to either side.
LINEAR, CUBIC = 1, 2


def triangle(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp(min=0.0)


def smooth(distance: torch.Tensor) -> torch.Tensor:
    return torch.where(distance < 1, near(distance, -0.5), torch.where(distance < 2, far(distance, -0.5), 0.0))


def reached(
    size: int, out: int, align_corners: bool, scale: float | None, reach: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Of each output of an antialiased interpolation: its first element, the one after its last, where it lies, and
    how far a reach of 1 goes."""
    apart = step(size, out, align_corners, scale)
    wide = max(apart, 1.0)
    middle = apart * (numbers(out) + 0.5)
    first = (middle - reach * wide + 0.5).int().clamp(min=0)
    end = (middle + reach * wide + 0.5).int().clamp(max=size)
    return first, end, middle, wide


def antialiased(
    size: int, out: int, align_corners: bool, scale: float | None, reach: int, kernel: Callable[..., torch.Tensor]
) -> Taps | None:
    """The elements under a kernel that is as wide as the outputs lie apart; None if the size stays."""
    if size == out:
        return None
    first, end, middle, wide = reached(size, out, align_corners, scale, reach)
    return within(size, first, end, lambda places: kernel(((places - middle + 0.5) / wide).abs()))


def within(size: int, first: torch.Tensor, end: torch.Tensor, weigh: Callable[[torch.Tensor], torch.Tensor]) -> Taps:
    """The elements from `first` up to `end` of each output, with weights that add up to 1."""
    places = first + torch.arange(int((end - first).max()), dtype=torch.int32, device="cpu")[:, None]
    weight = torch.where(places < end, weigh(places), 0.0)
    return Taps(torch.where(places < end, places, size), weight / weight.sum(0))


@from_sizes
def antialiased_linear(size: int, out: int, align_corners: bool, scale: float | None) -> Taps | None:
    return antialiased(size, out, align_corners, scale, LINEAR, triangle)


@from_sizes
def antialiased_cubic(size: int, out: int, align_corners: bool, scale: float | None) -> Taps | None:
    return antialiased(size, out, align_corners, scale, CUBIC, smooth)


@from_sizes
def without_elements(size: int, out: int, align_corners: bool, scale: float | None, reach: int) -> int:
    """How many outputs of an antialiased interpolation have no element under their kernel."""
    first, end, *_ = reached(size, out, align_corners, scale, reach)
    return 0 if size == out else int((end <= first).sum())


@from_sizes
def mean_windows(size: int, out: int) -> Taps | None:
    """The windows of an adaptive pool, which overlap or differ in length where the sizes are no multiples."""
    if size == out:
        return None
    places = torch.arange(out, dtype=torch.int64, device="cpu")
    first, end = places * size // out, -(-(places + 1) * size // out)
    return within(size, first.int(), end.int(), lambda at: torch.ones_like(at, dtype=torch.float32))


@from_sizes
def windows_of(size: int, out: int, kernel: int, stride: int, padding: int, count_include_pad: bool | None) -> Taps:
    """The windows of an average pool. Each element weighs one over its window's length, with None for that 1."""
    starts = torch.arange(out, dtype=torch.int32, device="cpu") * stride - padding
    ends = (starts + kernel).clamp(max=size + padding)
    first, end = starts.clamp(min=0), ends.clamp(max=size)
    places = first + torch.arange(int((end - first).max()), dtype=torch.int32, device="cpu")[:, None]
    lengths = (
        torch.ones_like(first) if count_include_pad is None else ends - starts if count_include_pad else end - first
    )
    weight = 1 / lengths.to(torch.float32)
    return Taps(torch.where(places < end, places, size), torch.where(places < end, weight, 0.0))


@from_sizes
def one_by_one(size: int, out: int, scale: float | None, exact: bool) -> Taps | None:
    """The nearest element of each output, as the gradient's kernel finds it; None if all are taken in order."""
    if size == out and not (exact and scale):
        return None
    apart = torch.tensor(1 / scale if scale else size / out, dtype=torch.float32, device="cpu")
    if out == 2 * size and not exact:  # whatever the scale
        apart = torch.tensor(0.5, dtype=torch.float32, device="cpu")
    at = (apart * (numbers(out) + 0.5) if exact else apart * numbers(out)).floor().clamp(max=size - 1)
    return Taps(at[None].int(), torch.ones(1, out, dtype=torch.float32, device="cpu"))


@from_sizes
def passed_back(size: int, out: int, make: Callable[..., Taps | None], *arguments: Any) -> Taps | None:
    """What the gradient of each of `out` elements is the weighted sum of: the `size` outputs that it was a tap of."""
    taps = make(out, size, *arguments)
    if taps is None:
        return None
    found: list[dict[int, float]] = [{} for _ in range(out)]
    for output, (places, weights) in enumerate(zip(taps.places.mT.tolist(), taps.weight.mT.tolist(), strict=True)):
        for place, weight in zip(places, weights, strict=True):
            if place < out:  # the rest are no taps: this output has fewer than others
                found[place][output] = found[place].get(output, 0.0) + weight
    most = max(map(len, found))
    index = [[*taken, *[size] * (most - len(taken))] for taken in found]
    weight = [[*taken.values(), *[0.0] * (most - len(taken))] for taken in found]
    made = torch.tensor(index, dtype=torch.int32, device="cpu"), torch.tensor(weight, dtype=torch.float32, device="cpu")
    return Taps(*(rows.mT.contiguous() for rows in made))


@from_sizes
def windows_over(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps | None:
    """The elements of windows that lie over each element that windows go over; None if those are the same.

    The windows' first elements stand before all of their second ones.
    """
    if (kernel, stride, padding, size) == (1, 1, 0, out):
        return None
    starts = torch.arange(size // kernel, dtype=torch.int64, device="cpu") * stride - padding
    at = starts + torch.arange(kernel, dtype=torch.int64, device="cpu")[:, None] * dilation
    found: list[list[int]] = [[] for _ in range(out)]
    for number, place in enumerate(at.flatten().tolist()):
        if 0 <= place < out:
            found[place].append(number)
    most = max(1, *map(len, found))
    index = torch.tensor([[*taken, *[size] * (most - len(taken))] for taken in found], dtype=torch.int32, device="cpu")
    return Taps(index.mT.contiguous(), torch.ones(most, out, dtype=torch.float32, device="cpu"))
