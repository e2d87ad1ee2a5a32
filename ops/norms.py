"""Norms of vectors; an order of None is that of 2."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..conditions import FLOATS
from ..registry import lower
from ..samples import Sample, rand
from .reduction import DOUBLE, SUMMED_IN_FLOAT, TYPED
from .vocabulary import as_out, of_reciprocal, reduce, widen

aten = torch.ops.aten

INF = math.inf
OF_POWERS = "orders other than 0, 1, -1, 2 and the infinite ones make infinity of NaN"
PASSES_NAN = f"the norm of order -inf passes over NaN; {OF_POWERS}"
ORDERS = (2, 1, 0, INF, -INF, 3, 4, 6, 0.5, 2.5, -1, -2, -1.5)


def vector_norm_of(tt, values, order, dim=None, keepdim=False):
    """The norm of float32 values; None and an empty list are all dimensions."""
    if order == 2:
        return tt.sqrt(reduce(tt, "sum", tt.square(values), dim, keepdim))
    if order == 0:
        return reduce(tt, "sum", tt.ne(values, 0.0), dim, keepdim)
    sizes = tt.abs(values)
    if order in (1, INF, -INF):
        return reduce(tt, {1: "sum", INF: "max", -INF: "min"}[order], sizes, dim, keepdim)
    if order == 3:
        powers = tt.multiply(tt.square(sizes), sizes)
    elif order == 4:
        powers = tt.square(tt.square(sizes))
    elif order == -1:
        return of_reciprocal(tt, reduce(tt, "sum", of_reciprocal(tt, sizes), dim, keepdim))
    else:
        powers = tt.pow(sizes, float(order))
    return tt.pow(reduce(tt, "sum", powers, dim, keepdim), 1.0 / order)


def order_of(shape, order, dim=None):
    """The order of a norm as PyTorch takes it: of single elements it takes the sizes, and makes no powers."""
    # It does not see that there is one where a number is given a dimension.
    single = all(shape[d] == 1 for d in dim or range(len(shape))) if len(shape) else not dim
    return INF if single and order != 0 else order


def norm_samples(with_dims=True, with_dtype=True):
    """Samples of every order: of all dimensions, or of some; in a dtype, or in that of the tensor."""

    def samples():
        for dtype in FLOATS:
            for order in ORDERS:
                yield of(rand(3, 40, 33, dtype=dtype, low=0.25), order, [-1], False)
                yield of(rand(2, 3, 5, 7, dtype=dtype), order, [0, 2], True)
                yield of(torch.tensor([[0.0, -0.0], [1.0, 0.0]], dtype=dtype), order, [1], False)
                for odd in (torch.nan, torch.inf, -torch.inf):
                    yield of(torch.tensor([[0.5, odd, 2.0], [1.0, 0.0, 3.0]], dtype=dtype), order, [1], False)
            yield of(rand(dtype=dtype), 2.5, [], False)
            yield of(rand(5, 7, dtype=dtype), 3, [], True)
            yield of(rand(5, 1, dtype=dtype) * 1e30, 2, [1], False)
            yield of(rand(1, 1, dtype=dtype), torch.nan, [0, 1], False)
        yield of(rand(5, 7).double(), 2, [0], False)
        if with_dtype:
            yield of(rand(5, 7, dtype=torch.bfloat16), 2, [0], False, dtype=torch.float32)
            yield of(rand(5, 7), 2, [0], False, **DOUBLE)

    def of(values, order, dim, keepdim, dtype=None):
        dims = (dim, keepdim) if with_dims else ()
        return Sample(values, order, *dims, **({"dtype": dtype or values.dtype} if with_dtype else {}))

    return samples


def vector_norm_samples():
    yield from norm_samples()()
    yield Sample(rand(3, 40, 33))
    yield Sample(rand(5, 7, dtype=torch.bfloat16), INF, None, True)


def norm_of(tt, self, order, out, dim=None, keepdim=False):
    """The norm in the dtype of the output."""
    order = order_of(self.shape, 2 if order is None else order, dim)
    return as_out(tt, vector_norm_of(tt, widen(tt, self), order, dim, keepdim), out)


OF_ITS_DTYPE: dict[str, Any] = {"takes": FLOATS, "chip": PASSES_NAN}
OF_ANY_DTYPE: dict[str, Any] = {"takes": SUMMED_IN_FLOAT, "when": TYPED, "chip": PASSES_NAN}


@lower(aten.linalg_vector_norm.default, samples=vector_norm_samples, **OF_ANY_DTYPE)
def vector_norm(tt, self, ord, dim, keepdim, dtype, out):
    return norm_of(tt, self, ord, out, dim, keepdim)


@lower(aten.norm.Scalar, samples=norm_samples(with_dims=False, with_dtype=False), **OF_ITS_DTYPE)
def norm(tt, self, p, out):
    return norm_of(tt, self, p, out)


@lower(aten.norm.ScalarOpt_dtype, samples=norm_samples(with_dims=False), **OF_ANY_DTYPE)
def norm_in_dtype(tt, self, p, dtype, out):
    return norm_of(tt, self, p, out)


def dims_samples():
    yield from norm_samples(with_dtype=False)()
    yield Sample(rand(5, 7), None, [0])


@lower(aten.norm.ScalarOpt_dim, samples=dims_samples, **OF_ITS_DTYPE)
def norm_of_dims(tt, self, p, dim, keepdim, out):
    return norm_of(tt, self, p, out, dim, keepdim)


@lower(aten.norm.ScalarOpt_dim_dtype, samples=norm_samples(), **OF_ANY_DTYPE)
def norm_of_dims_in_dtype(tt, self, p, dim, keepdim, dtype, out):
    return norm_of(tt, self, p, out, dim, keepdim)
