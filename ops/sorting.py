"""Which elements are largest: argmax and argmin, extremes with their places, topk, sort."""

from __future__ import annotations

import torch

from ..apart import AllBut
from ..conditions import FLOATS, Rank
from ..registry import lower
from ..samples import Sample, rand
from .reduction import extreme
from .vocabulary import NAN_IS_LOST, as_shape, cast, cut, moved_last, permuted, widen

aten = torch.ops.aten

NO_PLACE = "a number has no dimension to find a place in"
RANKS = range(1, 7)
WHEN = [Rank("self", RANKS, because=NO_PLACE)]


def distinct(*shape, dtype=torch.float32):
    """Shuffled whole numbers, no two of them equal, all exact in bfloat16 up to 256 of them."""
    numel = torch.Size(shape).numel()
    return (torch.arange(numel) * 89 % numel - numel // 2).reshape(shape).to(dtype)


def tensors():
    """Tensors with a dimension of each; the last two are refused."""
    for dtype in FLOATS:
        yield distinct(7, dtype=dtype), 0
        yield distinct(5, 7, dtype=dtype), -1
        yield distinct(3, 40, dtype=dtype), 0
        yield distinct(2, 3, 5, 7, dtype=dtype), 1
        yield distinct(2, 2, 3, 5, 3, dtype=dtype), -2
    yield distinct(33, 40), 1
    yield rand(5, 7).double(), -1
    yield torch.tensor(0.5), 0


def special():
    """What ties and NaN do."""
    ties = torch.tensor([[1.0, 3.0, 3.0, 1.0], [0.0, -0.0, 0.0, -1.0]])
    not_a_number = torch.tensor([[1.0, torch.nan, torch.inf, torch.nan], [-torch.inf, torch.inf, 1.0, -torch.inf]])
    return torch.cat([ties, not_a_number])


def place_samples():
    for values, dim in tensors():
        yield Sample(values)
        yield Sample(values, dim)
        yield Sample(values, dim, True)
    yield Sample(special(), 1)
    yield Sample(special(), 0)
    yield Sample(special().bfloat16(), None, True)


def first_largest(tt, values, dim, keepdim):
    """The place of the first of the largest elements, or of the first NaN.

    In row-major layout and along the last dimension ttnn ranks NaN as PyTorch does; along the outer ones it does not.
    """
    shape = list(values.shape)
    if dim is None:
        place = tt.argmax(tt.to_layout(values, tt.ROW_MAJOR_LAYOUT))
        place = tt.typecast(tt.to_layout(place, tt.TILE_LAYOUT), tt.int32)
        return tt.reshape(place, [1] * len(shape)) if keepdim else place
    dim %= len(shape)
    rows = tt.to_layout(permuted(tt, values, moved_last([dim], len(shape))), tt.ROW_MAJOR_LAYOUT)
    place = tt.typecast(tt.to_layout(tt.argmax(rows, dim=-1, keepdim=keepdim), tt.TILE_LAYOUT), tt.int32)
    return as_shape(tt, place, [*shape[:dim], 1, *shape[dim + 1 :]]) if keepdim else place


@lower(aten.argmax.default, samples=place_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def argmax(tt, self, dim, keepdim):
    return first_largest(tt, self, dim, keepdim)


@lower(aten.argmin.default, samples=place_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def argmin(tt, self, dim, keepdim):
    return first_largest(tt, tt.neg(self), dim, keepdim)


def extreme_samples():
    for values, dim in tensors():
        yield Sample(values, dim)
        yield Sample(values, dim, True)
    yield Sample(special(), 1)


@lower(aten.max.dim, samples=extreme_samples, takes=FLOATS, when=WHEN, chip=NAN_IS_LOST, apart=AllBut("self"))
def max_of_dim(tt, self, dim, keepdim):
    return extreme(tt, "max", self, dim, keepdim), lambda: argmax(tt, self, dim, keepdim)


@lower(aten.min.dim, samples=extreme_samples, takes=FLOATS, when=WHEN, chip=NAN_IS_LOST, apart=AllBut("self"))
def min_of_dim(tt, self, dim, keepdim):
    return extreme(tt, "min", self, dim, keepdim), lambda: argmin(tt, self, dim, keepdim)


def ordered(tt, self, values, places):
    return cast(tt, values, self.dtype), tt.typecast(places, tt.int32)


def topk_samples():
    for values, dim in tensors():
        most = values.shape[dim] if values.ndim else 1
        yield Sample(values, most, dim)
        yield Sample(values, (most + 1) // 2, dim, False)
        yield Sample(values, 1, dim, True, False)
    yield Sample(distinct(2, 100), 70)
    yield Sample(distinct(2, 4000), 2000)
    yield Sample(distinct(3000, 2), 2100, 0, False)


# How many elements ttnn.topk is asked for: it keeps them in one core's L1, which has room for 1,728 on Wormhole.
MOST_TAKEN = 1024


@lower(aten.topk.default, samples=topk_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def topk(tt, self, k, dim, largest, sorted):
    # Unstable, ttnn may give places in the padding.
    if k <= MOST_TAKEN:
        values, places = tt.topk(widen(tt, self), k, dim, largest, sorted, stable=True)
        return ordered(tt, self, values, places)
    values, places = tt.sort(widen(tt, self), dim=dim, descending=largest, stable=True)
    return ordered(tt, self, *(cut(tt, part, dim, 0, k) for part in (values, places)))


def sort_samples():
    for values, dim in tensors():
        yield Sample(values, dim=dim)
        yield Sample(values, dim=dim, descending=True)


def stable_samples():
    for number, sample in enumerate(sort_samples()):
        yield Sample(*sample.args, **sample.kwargs, stable=(True, False, None)[number % 3])
    yield Sample(special(), dim=1, stable=True)
    yield Sample(special().bfloat16(), dim=0, descending=True, stable=True)


@lower(aten.sort.default, samples=sort_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def sort(tt, self, dim, descending):
    # In bfloat16 ttnn makes NaN infinite, and unstable it may give places in the padding.
    values, places = tt.sort(widen(tt, self), dim=dim, descending=descending, stable=True)
    return ordered(tt, self, values, places)


@lower(aten.sort.stable, samples=stable_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def stable_sort(tt, self, stable, dim, descending):
    return sort(tt, self, dim, descending)
