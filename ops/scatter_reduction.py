"""Sums, products, means and extremes of what an index sends to the same place."""

from __future__ import annotations

from math import prod

import torch

from ..call import Call, describe
from ..conditions import FLOATS, Check, OneOf, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Index, Rows, Takes
from ._places import MOST_PAIRS, OF_NOTHING, at_places, reduced
from .binary import ALPHA
from .embedding import indexed_size
from .vocabulary import (
    BF16,
    NAN_IS_LOST,
    around,
    as_shape,
    at_most,
    cast,
    moved_last,
    one_number,
    permuted,
    permuted_back,
    widen,
)

aten = torch.ops.aten

EXTREMES = ("amax", "amin")
HOW = ("sum", "prod", "mean", *EXTREMES)
ALL_AT_ONCE = "ttnn.scatter does not compare, and what goes to each place is held for all places at once"


def pairs(call: Call) -> int:
    return call["index"].numel * indexed_size(call) if call["reduce"] in EXTREMES else 0


def along(call: Call) -> tuple[int, int]:
    """The size of the dimension that is indexed, and the dimension."""
    return indexed_size(call), call["dim"]


def unlike_index(call: Call) -> str | None:
    src, index = call["src"].shape, call["index"].shape
    return describe(list(src)) if src != index else None


def other_slices(call: Call) -> str | None:
    shape, source = list(call["self"].shape), list(call["source"].shape)
    if shape:
        shape[call["dim"]] = call["index"].numel
    fits = source == shape if shape else call["index"].numel == 1 and source == []
    return None if fits else describe(source)


SLICES = Check("source has a slice like those of self for each index", other_slices, because="PyTorch raises")
PAIRS = at_most(MOST_PAIRS, "at most {} pairs of an element and a place for amax and amin", pairs, because=ALL_AT_ONCE)
SAME_SHAPE = Check("src has the shape of index", unlike_index, because="its other elements go nowhere")


def matrix(tt, x, rows, width):
    """`x` as so many rows in float32, row-major: ttnn.scatter refuses float32 in tiles."""
    return tt.to_layout(as_shape(tt, widen(tt, x), [rows, width]), tt.ROW_MAJOR_LAYOUT)


def sums(tt, index, rows, size):
    """The elements of each row of a `matrix` added up where `index`, (1, width), sends them: `size` sums, in tiles."""
    nothing = tt.expand(tt.constant(one_number(0.0, torch.float32, 2)), (rows.shape[0], size))
    nothing = tt.to_layout(nothing, tt.ROW_MAJOR_LAYOUT)
    return tt.to_layout(tt.scatter_add(nothing, 1, tt.expand(index, tuple(rows.shape)), rows), tt.TILE_LAYOUT)


def summed(tt, self, index, src, how, include_self):
    """The rows of `self` with the elements of those of `src` added, multiplied or averaged where `index` sends them.

    ttnn.scatter takes one element after the other, as PyTorch does.
    """
    start = self
    if not include_self:
        start = tt.scatter(self, 1, index, tt.full_like(src, OF_NOTHING["prod" if how == "prod" else "sum"]))
    if how == "prod":
        total = tt.scatter(start, 1, index, src, reduce="multiply")
    else:
        total = tt.scatter_add(start, 1, index, src)
    total = tt.to_layout(total, tt.TILE_LAYOUT)
    if how == "mean":
        own = tt.full_like(self, 1.0 if include_self else 0.0)
        count = tt.to_layout(tt.scatter_add(own, 1, index, tt.full_like(src, 1.0)), tt.TILE_LAYOUT)
        total = tt.divide(total, tt.clamp(count, min=1.0))
    return total


def extremes(tt, self, index, src, how, include_self):
    """The same for the largest or the smallest, all in tiles: ttnn.scatter does not compare."""
    rows, size = self.shape
    here = at_places(tt, index, rows, size)
    total, hits = reduced(tt, as_shape(tt, src, [rows, 1, src.shape[1]]), here, how)
    total = as_shape(tt, total, [rows, size])
    if include_self:
        return (tt.maximum if how == "amax" else tt.minimum)(self, total)
    return tt.where(tt.gtz(as_shape(tt, hits, [rows, size])), total, self)


def scattered(tt, self, dim, index, src, how, include_self):
    """Each element of `src` goes to the place in `dim` that `index`, a matrix, gives it; what is beyond stays."""
    shape, part = list(self.shape) or [1], list(src.shape) or [1]
    dim %= len(shape)
    part[dim], count = shape[dim], part[dim]
    order = moved_last([dim], len(shape))
    rows = prod(part) // shape[dim]
    whole = as_shape(tt, self, shape)
    covered = whole if part == shape else tt.slice(whole, [0] * len(shape), part)
    pair = (covered, shape[dim]), (as_shape(tt, src, [*part[:dim], count, *part[dim + 1 :]]), count)
    if how in EXTREMES:
        to, what = (as_shape(tt, widen(tt, permuted(tt, x, order)), [rows, width]) for x, width in pair)
        result = extremes(tt, to, index, what, how, include_self)
    else:
        to, what = (matrix(tt, permuted(tt, x, order), rows, width) for x, width in pair)
        result = summed(tt, to, index, what, how, include_self)
    result = cast(tt, as_shape(tt, result, [part[d] for d in order]), self.dtype)
    result = permuted_back(tt, result, order)
    if part != shape:
        widths = [(0, all_ - some) for all_, some in zip(shape, part, strict=True)]
        is_covered = tt.pad(tt.full_like(result, 1.0), widths, 0)
        result = tt.where(is_covered, tt.pad(result, widths, 0), whole)
    return as_shape(tt, result, list(self.shape))


def cases():
    """A tensor, a dimension, indices into it and what goes there; some places get several elements, some none."""
    for dtype in FLOATS:
        yield rand(5, 7, dtype=dtype), 0, ints(9, 7, high=4), rand(9, 7, dtype=dtype)
        yield rand(5, 7, dtype=dtype), -1, ints(3, 5, high=7), rand(3, 5, dtype=dtype)
        yield rand(2, 33, 4, dtype=dtype), 1, ints(2, 40, 3, high=33), rand(2, 40, 3, dtype=dtype)
        yield rand(9, dtype=dtype), 0, ints(40, high=5), rand(40, dtype=dtype)
    yield rand(2, 3, 2, 4, 5), 3, ints(1, 3, 2, 6, 2, high=4), rand(1, 3, 2, 6, 2)
    yield rand(), 0, ints(high=1), rand()


def refused():
    yield rand(5, 7).double(), 0, ints(2, 7, high=5), rand(2, 7).double()
    yield rand(5, 7), 0, ints(2, 7, high=5), rand(2, 7, dtype=BF16)
    yield rand(5, 7), 0, ints(2, 7, high=5, dtype=torch.int32), rand(2, 7)
    yield rand(5, 7), 0, ints(2, 7, high=5), rand(3, 7)


def odd():
    """Elements that are not finite, and indices that send two of them to one place."""
    values = torch.tensor([torch.inf, -torch.inf, torch.nan, torch.inf, 1.0, -0.0])
    return torch.tensor([-0.0, 1.0, torch.nan, -torch.inf, torch.inf]), 0, torch.tensor([3, 3, 1, 2, 4, 0]), values


def reduce_samples():
    for how in HOW:
        for include_self in (True, False):
            for case in cases():
                yield Sample(*case, how, include_self=include_self)
            yield Sample(*odd(), how, include_self=include_self)
    for case in refused():
        yield Sample(*case, "sum")
    yield Sample(rand(1).expand(1025), 0, ints(1).expand(1024), rand(1).expand(1024), "amin")
    yield Sample(*next(cases()), "max")


def compared(call: Call) -> bool:
    """Whether the indices are compared with all places, which is what ttnn.scatter does not do."""
    return call.arguments.get("reduce") in EXTREMES


SCATTERED: Takes = {
    "self": FLOATS,
    "index": Rows((torch.int64,), along=along, row_major=True, as_numbers=compared),
    "src": FLOATS,
}
WHEN = [SameDtype(("self", "src")), SAME_SHAPE]


@lower(
    aten.scatter_reduce.two,
    samples=reduce_samples,
    takes=SCATTERED,
    when=[*WHEN, OneOf("reduce", HOW), PAIRS],
    chip=NAN_IS_LOST,
)
def scatter_reduce(tt, self, dim, index, src, reduce, include_self):
    return scattered(tt, self, dim, index, src, reduce, include_self)


def add_samples():
    for case in (*cases(), odd(), *refused()):
        yield Sample(*case)


@lower(aten.scatter_add.default, samples=add_samples, takes=SCATTERED, when=WHEN)
def scatter_add(tt, self, dim, index, src):
    return scattered(tt, self, dim, index, src, "sum", True)


def added_slices():
    for dtype in FLOATS:
        for alpha in (1, -0.5, 0):
            yield Sample(rand(5, 7, dtype=dtype), 0, ints(9, high=4), rand(9, 7, dtype=dtype), alpha=alpha)
            yield Sample(rand(2, 33, 4, dtype=dtype), -2, ints(40, high=33), rand(2, 40, 4, dtype=dtype), alpha=alpha)
        yield Sample(rand(9, dtype=dtype), 0, ints(high=9), rand(1, dtype=dtype))
    yield Sample(rand(), 0, ints(1, high=1), rand())
    yield Sample(*odd())
    yield Sample(rand(5, 7).double(), 0, ints(2, high=5), rand(2, 7).double())
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2, 7, dtype=BF16))
    yield Sample(rand(5, 7), 0, ints(2, high=5, dtype=torch.int16), rand(2, 7))
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2, 7), alpha=True)
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2))


@lower(
    aten.index_add.default,
    samples=added_slices,
    takes={
        "self": FLOATS,
        "index": Index((torch.int64,), below=indexed_size, row_major=True),
        "source": FLOATS,
    },
    when=[
        SameDtype(("self", "source")),
        ALPHA,
        SLICES,
    ],
)
def index_add(tt, self, dim, index, source, alpha):
    shape = list(self.shape) or [1]
    dim %= len(shape)
    before, size, after = around(shape, dim)
    count, columns = prod(index.shape), before * after
    source = source if alpha == 1 else tt.multiply(widen(tt, source), float(alpha))

    def turned(x, rows, width):
        shape = [rows, width] if before == 1 else [before, rows, width]
        return x if after == 1 else tt.transpose(as_shape(tt, x, shape), -2, -1)

    def moved(x, length):
        return matrix(tt, turned(x, length, after), columns, length)

    index = as_shape(tt, index, [1, count])
    index = index if columns == 1 else tt.expand(index, (columns, count))
    result = cast(tt, summed(tt, moved(self, size), index, moved(source, count), "sum", True), self.dtype)
    return as_shape(tt, turned(result, after, size), list(self.shape))
