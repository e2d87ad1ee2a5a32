"""Variances and standard deviations."""

from __future__ import annotations

import math

import torch

from ..apart import AllBut
from ..call import Call
from ..conditions import FLOATS, Check
from ..registry import lower
from ..samples import Sample, rand
from .reduction import of_dims
from .vocabulary import as_shape, cast, reduce, widen

aten = torch.ops.aten


def too_few(call: Call) -> str | None:
    shape, dim, correction = call["self"].shape, call["dim"], call["correction"]
    size = math.prod(shape[d] for d in dim or range(len(shape))) if shape else 1
    correction = 1 if correction is None else correction
    return None if size > correction else f"{size} with correction {correction}"


def variance_samples():
    yield Sample(torch.tensor(0.5), correction=0)
    for sample in of_dims()():
        if sample.args[0].ndim:
            yield sample
    yield Sample(rand(33), [0], correction=0)
    yield Sample(rand(3, 40, 33), None, correction=2.5, keepdim=True)
    yield Sample(rand(2, 3, 5, 7, dtype=torch.bfloat16) + 100, [0, 2, 3], correction=0)
    yield Sample(rand(5, 1), [1])


WHEN = [Check("more elements are reduced than correction takes off", too_few)]


def variance(tt, self, dim, correction, keepdim):
    """The variance in float32, from the differences from the mean, and the mean with every dimension kept."""
    values = widen(tt, self)
    mean = reduce(tt, "mean", values, dim, keepdim=True)
    squares = tt.squared_difference(values, mean)
    size = math.prod(values.shape) // math.prod(mean.shape)
    rest = size - (1 if correction is None else correction)
    return tt.multiply(reduce(tt, "sum", squares, dim, keepdim), 1 / rest), mean


@lower(aten.var.correction, samples=variance_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def var(tt, self, dim, correction, keepdim):
    return cast(tt, variance(tt, self, dim, correction, keepdim)[0], self.dtype)


@lower(aten.std.correction, samples=variance_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def std(tt, self, dim, correction, keepdim):
    return cast(tt, tt.sqrt(variance(tt, self, dim, correction, keepdim)[0]), self.dtype)


@lower(aten.var_mean.correction, samples=variance_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def var_mean(tt, self, dim, correction, keepdim):
    result, mean = variance(tt, self, dim, correction, keepdim)
    return [cast(tt, value, self.dtype) for value in (result, as_shape(tt, mean, list(result.shape)))]


@lower(aten.std_mean.correction, samples=variance_samples, takes=FLOATS, when=WHEN, apart=AllBut("self"))
def std_mean(tt, self, dim, correction, keepdim):
    result, mean = variance(tt, self, dim, correction, keepdim)
    return [cast(tt, value, self.dtype) for value in (tt.sqrt(result), as_shape(tt, mean, list(result.shape)))]
