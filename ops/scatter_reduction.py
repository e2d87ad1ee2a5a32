"""Sums, products, means and extremes of what an index sends to the same place."""

from __future__ import annotations

from math import prod

import torch

from ..call import Call, describe
from ..conditions import FLOATS, Check, Dtype, OneOf, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ._compute import cast, widen
from ._places import MOST_PAIRS, at_places, reduced, too_many_pairs
from .binary import ALPHA
from .elementwise import BF16
from .embedding import indexed_size
from .views import as_shape

aten = torch.ops.aten

HOW = ("sum", "prod", "mean", "amax", "amin")
HELD = "what goes to each place is held for all places at once"


def elements(call: Call) -> tuple[int, ...]:
    return call["source"].shape if "source" in call.arguments else call["index"].shape


def pairs(call: Call) -> str | None:
    return too_many_pairs(elements(call), indexed_size(call))


def unlike_index(call: Call) -> str | None:
    src, index = call["src"].shape, call["index"].shape
    return describe(list(src)) if src != index else None


def other_slices(call: Call) -> str | None:
    shape, source = list(call["self"].shape), list(call["source"].shape)
    if shape:
        shape[call["dim"]] = call["index"].numel
    fits = source == shape if shape else call["index"].numel == call["source"].numel == 1
    return None if fits else describe(source)


SLICES = Check("source has a slice like those of self for each index", other_slices, because="PyTorch raises")
PAIRS = Check(f"at most {MOST_PAIRS} pairs of an element and a place", pairs, because=HELD)
SAME_SHAPE = Check("src has the shape of index", unlike_index, because="its other elements go nowhere")


def combined(tt, self, total, count, how, include_self):
    """`self` with the results where elements went; all in float32."""
    if how == "mean":
        if include_self:
            total, count_all = tt.add(self, total), tt.add(count, 1.0)
        else:
            count_all = count
        total = tt.divide(total, tt.clamp(count_all, min=1.0))
    elif include_self:
        join = {"sum": tt.add, "prod": tt.multiply, "amax": tt.maximum, "amin": tt.minimum}[how]
        total = join(self, total)
    return tt.where(tt.expand(tt.gtz(count), tuple(total.shape)), total, self)


def scattered(tt, self, dim, index, src, how, include_self):
    """Each element of `src` goes to the place in `dim` that `index` gives it; what is beyond `index` stays."""
    shape, part = list(self.shape) or [1], list(index.shape) or [1]
    dim %= len(shape)
    size, count = shape[dim], part[dim]
    order = [*(d for d in range(len(shape)) if d != dim), dim]
    rest = [part[d] for d in order[:-1]]

    def rows(x):
        x = as_shape(tt, x, part)
        return as_shape(tt, x if order == sorted(order) else tt.permute(x, order), [prod(rest), 1, count])

    def back(x):
        x = as_shape(tt, x, [*rest, size])
        x = x if order == sorted(order) else tt.permute(x, [order.index(d) for d in range(len(shape))])
        missing = [0 if d == dim else shape[d] - part[d] for d in range(len(shape))]
        return tt.pad(x, [(0, more) for more in missing], 0) if any(missing) else x

    # ttnn permutes no uint32.
    here = at_places(tt, rows(tt.typecast(index, tt.int32)), prod(rest), size)
    total, hits = reduced(tt, rows(src), here, "sum" if how == "mean" else how)
    whole = as_shape(tt, widen(tt, self), shape)
    result = combined(tt, whole, back(total), back(hits), how, include_self)
    return cast(tt, as_shape(tt, result, list(self.shape)), self.dtype)


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
    yield rand(1).expand(4097), 0, ints(1).expand(4096), rand(1).expand(4096)


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
    yield Sample(*next(cases()), "max")


SCATTERED = [
    Dtype(("self", "src"), FLOATS),
    SameDtype(("self", "src")),
    Dtype("index", (torch.int64,)),
    SAME_SHAPE,
    PAIRS,
]


@lower(
    aten.scatter_reduce.two,
    samples=reduce_samples,
    indices={"index": indexed_size},
    when=[*SCATTERED, OneOf("reduce", HOW)],
)
def scatter_reduce(tt, self, dim, index, src, reduce, include_self):
    return scattered(tt, self, dim, index, src, reduce, include_self)


def add_samples():
    for case in (*cases(), odd(), *refused()):
        yield Sample(*case)


@lower(aten.scatter_add.default, samples=add_samples, indices={"index": indexed_size}, when=SCATTERED)
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
    yield Sample(rand(1).expand(4097), 0, ints(1).expand(4096), rand(1).expand(4096))


@lower(
    aten.index_add.default,
    samples=added_slices,
    indices={"index": indexed_size},
    when=[
        Dtype(("self", "source"), FLOATS),
        SameDtype(("self", "source")),
        Dtype("index", (torch.int64,)),
        ALPHA,
        SLICES,
        PAIRS,
    ],
)
def index_add(tt, self, dim, index, source, alpha):
    shape = list(self.shape) or [1]
    dim %= len(shape)
    before, size, after = prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])
    count = prod(index.shape)
    source = as_shape(tt, source, [before, count, after])
    source = tt.permute(source, [0, 2, 1])
    source = as_shape(tt, source, [1, before * after, count])
    total, hits = reduced(tt, source, at_places(tt, index, 1, size), "sum")
    total = total if alpha == 1 else tt.multiply(total, float(alpha))
    total = tt.permute(as_shape(tt, total, [before, after, size]), [0, 2, 1])
    hits = as_shape(tt, hits, [1, size, 1])
    whole = as_shape(tt, widen(tt, self), [before, size, after])
    result = combined(tt, whole, total, hits, "sum", True)
    return cast(tt, as_shape(tt, result, list(self.shape)), self.dtype)
