"""Reductions to sums, means, extremes and products."""

from __future__ import annotations

import math
from dataclasses import replace
from math import prod as prod_of

import torch

from ..apart import AllBut
from ..call import Call
from ..conditions import BOOL, FLOATS, Check, OneOf
from ..images import Image, unfolded
from ..meta import dtype_name
from ..registry import lower
from ..samples import Sample, bools, rand
from ..specs import Tensor
from .vocabulary import COUNTABLE, NAN_IS_LOST, as_out, as_shape, at_most, cast, product_along, reduce, widen

aten = torch.ops.aten

SHAPES = ((), (33,), (5, 7), (3, 40, 33), (2, 3, 5, 7), (2, 2, 3, 5, 7))


def of_all(**refused):
    """Samples of a reduction to one number."""

    def samples():
        for shape in SHAPES:
            for dtype in FLOATS:
                yield Sample(rand(*shape, dtype=dtype))
        yield Sample(rand(5, 7).double())
        if refused:
            yield Sample(rand(5, 7, dtype=torch.bfloat16), dtype=torch.float32)
            yield Sample(rand(5, 7), **refused)

    return samples


def of_dims(**refused):
    """Samples of a reduction of a list of dimensions."""

    def samples():
        for dtype in FLOATS:
            yield Sample(rand(dtype=dtype), [])
            yield Sample(rand(33, dtype=dtype), [0])
            yield Sample(rand(5, 7, dtype=dtype), [-1], keepdim=True)
            yield Sample(rand(3, 40, 33, dtype=dtype), [0, 2])
            yield Sample(rand(3, 40, 33, dtype=dtype), [], keepdim=True)
            yield Sample(rand(2, 3, 5, 7, dtype=dtype), [-2, 3], keepdim=True)
            yield Sample(rand(2, 2, 3, 5, 7, dtype=dtype), [1])
        yield Sample(rand(5, 7).double(), [0])
        if refused:
            yield Sample(rand(5, 7, dtype=torch.bfloat16), [0], dtype=torch.float32)
            yield Sample(rand(5, 7), [0], **refused)

    return samples


SUMMED_IN_FLOAT = Tensor(FLOATS, because="PyTorch adds up and multiplies integers in int64")
TYPED = [OneOf("dtype", (None, *FLOATS))]
DOUBLE = {"dtype": torch.float64}


COUNTS = (torch.int32, torch.int64)


def integers_of_floats(call: Call) -> str | None:
    self, dtype = call["self"].dtype, call["dtype"]
    return f"{dtype_name(dtype)} of {dtype_name(self)}" if dtype in COUNTS and self != torch.bool else None


def bools_counted(call: Call) -> int:
    return call["self"].numel if call["self"].dtype == torch.bool else 0


SUMMED = Tensor((*FLOATS, *BOOL), because="PyTorch adds up integers in int64")
COUNTED = [
    OneOf("dtype", (None, *FLOATS, *COUNTS)),
    Check("integers are asked for of bools only", integers_of_floats, because="PyTorch adds up integers in int64"),
    at_most(COUNTABLE, "at most {} bools", bools_counted, because="float32 counts no further"),
]


def sums(of_floats, *dim):
    """The samples of floats, and sums of bools, which count in int64 if no dtype is asked for."""

    def samples():
        yield from of_floats(**DOUBLE)()
        for shape in SHAPES:
            yield Sample(bools(*shape), *dim)
        for dtype in (*FLOATS, *COUNTS):
            yield Sample(bools(40, 33), *dim, dtype=dtype)
        yield Sample(torch.ones(300, 40, dtype=torch.bool), *dim)
        yield Sample(rand(5, 7), *dim, dtype=torch.int64)
        yield Sample(bools(1, 1).expand(4096, 4097), *dim)

    return samples


@lower(aten.sum.default, samples=sums(of_all), takes=SUMMED, when=COUNTED)
def sum_all(tt, self, dtype, out):
    return sum_dims(tt, self, None, False, dtype, out)


@lower(aten.sum.dim_IntList, samples=sums(of_dims, [-1]), takes=SUMMED, when=COUNTED, apart=AllBut("self", fill=0.0))
def sum_dims(tt, self, dim, keepdim, dtype, out):
    # Added up in float32; of bools, which arrive as floats, PyTorch makes int64.
    return as_out(tt, reduce(tt, "sum", widen(tt, self), dim, keepdim), out)


@lower(aten.mean.default, samples=of_all(**DOUBLE), takes=SUMMED_IN_FLOAT, when=TYPED)
def mean_all(tt, self, dtype, out):
    return as_out(tt, reduce(tt, "mean", widen(tt, self)), out)


def of_places(call: Call) -> bool:
    """Whether a reduction is of all dimensions behind the channels."""
    rank, dims = call["self"].ndim, call["dim"] or ()
    return rank > 2 and sorted(dim % rank for dim in dims) == list(range(2, rank))


def mean_of_places(tt, image, keepdim, out):
    """The mean of an image for each channel."""
    n, channels = image.shape[:2]
    values = widen(tt, image.value)
    if n > 1 or not image.folded:
        values = as_shape(tt, values, [n, 1, prod_of(image.shape[2:]), channels])
    made = as_out(tt, reduce(tt, "mean", values, 2, True), out)
    if not keepdim:
        return as_shape(tt, made, [n, channels])
    return Image(as_shape(tt, made, unfolded(out.shape)), out.shape, folded=False)


@lower(
    aten.mean.dim,
    samples=of_dims(**DOUBLE),
    takes={"self": replace(SUMMED_IN_FLOAT, images=of_places)},
    when=TYPED,
    apart=AllBut("self"),
)
def mean_dims(tt, self, dim, keepdim, dtype, out):
    if isinstance(self, Image):
        return mean_of_places(tt, self, keepdim, out)
    return as_out(tt, reduce(tt, "mean", widen(tt, self), dim, keepdim), out)


def nansum_samples():
    yield from of_dims(**DOUBLE)()
    values = rand(5, 7)
    values[1, 2:5] = torch.nan
    yield Sample(values)
    yield Sample(values, [1], True)


@lower(aten.nansum.default, samples=nansum_samples, takes=SUMMED_IN_FLOAT, when=TYPED)
def nansum(tt, self, dim, keepdim, dtype, out):
    values = widen(tt, self)
    values = tt.where(tt.isnan(values), 0.0, values)
    return as_out(tt, reduce(tt, "sum", values, dim, keepdim), out)


NEUTRAL = {"max": -math.inf, "min": math.inf}


def lower_extreme(name, of_every, of_some):
    @lower(of_every, samples=of_all(), takes=FLOATS, chip=NAN_IS_LOST)
    def extreme_of_all(tt, self):
        return extreme(tt, name, self)

    @lower(of_some, samples=of_dims(), takes=FLOATS, chip=NAN_IS_LOST, apart=AllBut("self", fill=NEUTRAL[name]))
    def extreme_of_dims(tt, self, dim, keepdim):
        return extreme(tt, name, self, dim, keepdim)


def extreme(tt, name, self, dim=None, keepdim=False):
    """The largest ("max") or smallest ("min") elements, in the dtype of the tensor."""
    return cast(tt, reduce(tt, name, widen(tt, self), dim, keepdim), self.dtype)


lower_extreme("max", aten.max.default, aten.amax.default)
lower_extreme("min", aten.min.default, aten.amin.default)


def aminmax_samples():
    yield from of_all()()
    yield Sample(rand(3, 40, 33), dim=1)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), dim=-1, keepdim=True)


@lower(aten.aminmax.default, samples=aminmax_samples, takes=FLOATS, chip=NAN_IS_LOST)
def aminmax(tt, self, dim, keepdim):
    values = widen(tt, self)
    return [cast(tt, reduce(tt, name, values, dim, keepdim), self.dtype) for name in ("min", "max")]


@lower(aten.prod.default, samples=of_all(**DOUBLE), takes=SUMMED_IN_FLOAT, when=TYPED)
def prod_all(tt, self, dtype, out):
    made, left = widen(tt, self), list(self.shape)
    while left:
        first = left.pop(0)
        made = product_along(tt, as_shape(tt, made, [1, first, prod_of(left)]), 1)
    return as_out(tt, as_shape(tt, made, []), out)


def prod_samples():
    for dtype in FLOATS:
        yield Sample(rand(33, dtype=dtype), 0)
        yield Sample(rand(3, 40, 33, dtype=dtype, low=0.5, high=1.5), 1)
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), -1, True)
        yield Sample(rand(2, 2, 3, 5, 7, dtype=dtype), 0)
    yield Sample(rand(5, 7).double(), 0)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), 0, dtype=torch.float32)
    yield Sample(rand(5, 7), 0, **DOUBLE)


@lower(aten.prod.dim_int, samples=prod_samples, takes=SUMMED_IN_FLOAT, when=TYPED)
def prod(tt, self, dim, keepdim, dtype, out):
    rank = len(self.shape)
    made = product_along(tt, widen(tt, self), dim % rank) if rank else widen(tt, self)
    return as_out(tt, as_shape(tt, made, out.shape), out)
