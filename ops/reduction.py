"""Reductions to sums, means, extremes and products."""

from __future__ import annotations

from math import prod as prod_of

import torch

from ..call import Call
from ..conditions import BOOL, FLOATS, Check, OneOf
from ..meta import dtype_name
from ..registry import lower
from ..samples import Sample, bools, rand
from ..specs import Tensor
from ._compute import NAN_IS_LOST, accurate, cast, widen
from .views import as_shape, cut

aten = torch.ops.aten

SHAPES = ((), (33,), (5, 7), (3, 40, 33), (2, 3, 5, 7), (2, 2, 3, 5, 7))


def reduce(tt, name, values, dim=None, keepdim=False):
    """ttnn's reduction of that name; None and an empty list are all dimensions."""
    if dim is None or dim == []:
        dim = list(range(len(values.shape))) or None
    return getattr(tt, name)(values, dim=dim, keepdim=keepdim, compute_kernel_config=accurate(tt))


def carried(tt, result, self, dtype=None):
    """The result in the dtype asked for, else in that of `self`."""
    return cast(tt, result, self.dtype if dtype is None else tt.carrier(dtype))


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


COUNTABLE = 2**24
COUNTS = (torch.int32, torch.int64)


def integers_of_floats(call: Call) -> str | None:
    self, dtype = call["self"].dtype, call["dtype"]
    return f"{dtype_name(dtype)} of {dtype_name(self)}" if dtype in COUNTS and self != torch.bool else None


def uncountable(call: Call) -> str | None:
    self = call["self"]
    return str(self.numel) if self.dtype == torch.bool and self.numel > COUNTABLE else None


SUMMED = Tensor((*FLOATS, *BOOL), because="PyTorch adds up integers in int64")
COUNTED = [
    OneOf("dtype", (None, *FLOATS, *COUNTS)),
    Check("integers are asked for of bools only", integers_of_floats, because="PyTorch adds up integers in int64"),
    Check(f"at most {COUNTABLE} bools", uncountable, because="float32 counts no further"),
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


@lower(aten.sum.dim_IntList, samples=sums(of_dims, [-1]), takes=SUMMED, when=COUNTED)
def sum_dims(tt, self, dim, keepdim, dtype, out):
    # Added up in float32; of bools, which arrive as floats, PyTorch makes int64.
    return cast(tt, reduce(tt, "sum", widen(tt, self), dim, keepdim), tt.carrier(out.dtype))


@lower(aten.mean.default, samples=of_all(**DOUBLE), takes=SUMMED_IN_FLOAT, when=TYPED)
def mean_all(tt, self, dtype):
    return carried(tt, reduce(tt, "mean", widen(tt, self)), self, dtype)


@lower(aten.mean.dim, samples=of_dims(**DOUBLE), takes=SUMMED_IN_FLOAT, when=TYPED)
def mean_dims(tt, self, dim, keepdim, dtype):
    return carried(tt, reduce(tt, "mean", widen(tt, self), dim, keepdim), self, dtype)


def nansum_samples():
    yield from of_dims(**DOUBLE)()
    values = rand(5, 7)
    values[1, 2:5] = torch.nan
    yield Sample(values)
    yield Sample(values, [1], True)


@lower(aten.nansum.default, samples=nansum_samples, takes=SUMMED_IN_FLOAT, when=TYPED)
def nansum(tt, self, dim, keepdim, dtype):
    values = widen(tt, self)
    values = tt.where(tt.isnan(values), 0.0, values)
    return carried(tt, reduce(tt, "sum", values, dim, keepdim), self, dtype)


@lower(aten.amax.default, samples=of_dims(), takes=FLOATS, chip=NAN_IS_LOST)
def amax(tt, self, dim, keepdim):
    return carried(tt, reduce(tt, "max", widen(tt, self), dim, keepdim), self)


@lower(aten.amin.default, samples=of_dims(), takes=FLOATS, chip=NAN_IS_LOST)
def amin(tt, self, dim, keepdim):
    return carried(tt, reduce(tt, "min", widen(tt, self), dim, keepdim), self)


@lower(aten.max.default, samples=of_all(), takes=FLOATS, chip=NAN_IS_LOST)
def max_all(tt, self):
    return carried(tt, reduce(tt, "max", widen(tt, self)), self)


@lower(aten.min.default, samples=of_all(), takes=FLOATS, chip=NAN_IS_LOST)
def min_all(tt, self):
    return carried(tt, reduce(tt, "min", widen(tt, self)), self)


def aminmax_samples():
    yield from of_all()()
    yield Sample(rand(3, 40, 33), dim=1)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), dim=-1, keepdim=True)


@lower(aten.aminmax.default, samples=aminmax_samples, takes=FLOATS, chip=NAN_IS_LOST)
def aminmax(tt, self, dim, keepdim):
    return [carried(tt, reduce(tt, name, widen(tt, self), dim, keepdim), self) for name in ("min", "max")]


def product(tt, x, dim):
    """The product along a dimension, which stays with size 1: ttnn's prod is some percent off, its cumprod exact."""
    shape = list(x.shape)
    rows = as_shape(tt, x, [prod_of(shape[:dim]), shape[dim], prod_of(shape[dim + 1 :])])
    last = cut(tt, tt.cumprod(rows, dim=1), 1, shape[dim] - 1, shape[dim])
    return as_shape(tt, last, [*shape[:dim], 1, *shape[dim + 1 :]])


@lower(aten.prod.default, samples=of_all(**DOUBLE), takes=SUMMED_IN_FLOAT, when=TYPED)
def prod_all(tt, self, dtype):
    made = widen(tt, self)
    for dim in range(len(self.shape)):
        made = product(tt, made, dim)
    return carried(tt, as_shape(tt, made, []), self, dtype)


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
def prod(tt, self, dim, keepdim, dtype):
    shape = list(self.shape)
    made = product(tt, widen(tt, self), dim % len(shape)) if shape else widen(tt, self)
    kept = [1 if keepdim and i == dim % len(shape) else size for i, size in enumerate(shape)]
    if shape and not keepdim:
        kept.pop(dim)
    return carried(tt, as_shape(tt, made, kept), self, dtype)
