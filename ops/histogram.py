"""Histograms."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch

from ..call import Call
from ..conditions import Check
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._places import MOST_PAIRS
from .vocabulary import as_out, as_shape, at_most, cut, reduce, widen

aten = torch.ops.aten


def pairs(call: Call) -> int:
    return call["self"].numel * (call["bins"] + 1)


def no_range(call: Call) -> str | None:
    low, high, bins = call["min"], call["max"], call["bins"]
    # PyTorch's kernel multiplies the distance from the start with the number of bins, in float32.
    is_range = bins > 0 and float32(low) < float32(high) and (high - low) * bins < torch.finfo(torch.float32).max
    return None if is_range else f"min={low}, max={high}"


def counted():
    yield Sample(rand(7, 9), 10, -1, 1)
    yield Sample(rand(40), 7, -0.5, 1.5)
    yield Sample(torch.tensor([0.0, 3.0, 3.0, 1.0, 5.0, 7.0, 7.5, -1.0]), 8, 0, 7)
    yield Sample(torch.linspace(0, 1, 1001), 100, 0, 1)
    yield Sample(torch.tensor([torch.inf, -torch.inf, 0.0, -0.0, 1e-45, 1.0]), 3, 0, 1)
    yield Sample(torch.tensor(2.0), 1, 1.9, 2.1)
    yield Sample(rand(7, 9))
    yield Sample(rand(7), 5, -3e38, 3e37)
    yield Sample(rand(7).double(), 10, -1, 1)
    yield Sample(rand(1).expand(2**18), 10, -1, 1)


@lower(
    aten.histc.default,
    samples=counted,
    takes=Tensor((torch.float32,), program_dtype=True, because="in bfloat16 PyTorch counts and divides in that"),
    when=[
        Check("a range that is given", no_range, because="else it is that of the values"),
        at_most(
            MOST_PAIRS, "at most {} pairs of an element and an edge", pairs, because="each is compared with each edge"
        ),
    ],
)
def histc(tt, self, bins, min, max, out):
    edges = tt.constant(first_of_bins(bins, min, max))
    reach = reduce(tt, "sum", tt.ge(widen(tt, as_shape(tt, self, [1, prod(self.shape)])), edges), 1)
    return as_out(tt, tt.subtract(cut(tt, reach, 0, 0, bins), cut(tt, reach, 0, 1, bins + 1)), out)


def float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


@lru_cache(maxsize=64)
def first_of_bins(bins: int, low: float, high: float) -> torch.Tensor:
    """The least number that PyTorch's kernel puts into each bin, then the least that is beyond the last: a column.

    The kernel divides in float32. Which number is the first of a bin is found here, so that the device only compares.
    """
    left, right = (torch.tensor(value, dtype=torch.float32) for value in (low, high))
    numbers = torch.arange(1, bins, dtype=torch.float32)
    below, reached = (ordered(edge).expand(bins - 1) for edge in (left, right))
    for _ in range(32):  # halves all float32 numbers between them
        middle = (below + reached).div(2, rounding_mode="floor")
        is_reached = (in_order(middle) - left) * bins / (right - left) >= numbers
        below, reached = torch.where(is_reached, below, middle), torch.where(is_reached, middle, reached)
    beyond = torch.nextafter(right, torch.tensor(torch.inf, dtype=torch.float32))
    return torch.cat([left.view(1), in_order(reached), beyond.view(1)]).view(-1, 1)


def ordered(numbers: torch.Tensor) -> torch.Tensor:
    """Integers in the order of float32 numbers, consecutive for neighbours."""
    bits = numbers.view(torch.int32).long()
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def in_order(integers: torch.Tensor) -> torch.Tensor:
    """The float32 numbers of such integers."""
    bits = torch.where(integers < 0, -integers - 2**31, integers)
    return bits.to(torch.int32).view(torch.float32)
