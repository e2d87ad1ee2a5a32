"""Normalization over layers, groups of channels and batches."""

from __future__ import annotations

from math import prod

import torch

from ..apart import Leading
from ..conditions import FLOATS, AtLeast, Check, ProgramCheck
from ..registry import lower
from ..samples import Sample, ints, rand
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, reduce, shape_of, widen

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16


def parameters(call):
    return [meta for name, meta in call.tensors() if name != "input"]


def other_dtypes(call):
    dtypes = {meta.dtype for meta in parameters(call)}
    if dtypes <= {call["input"].dtype} or dtypes == {torch.float32}:
        return None
    return ", ".join(map(str, [call["input"], *parameters(call)]))


EPSILON = AtLeast("eps", 0, because="one below 0 may take away all of a variance but its roundings")
ONE_DTYPE = ProgramCheck(
    "parameters all of the input's dtype or all float32", other_dtypes, because="PyTorch takes no others"
)


def statistics_on_cpu(call, outputs):
    """The statistics have the parameters' dtype, or the input's if there are none."""
    of = [*parameters(call), call["input"]][0]
    return [outputs[0], *(meta.like(of.dtype) for meta in outputs[1:])]


class Statistics:
    """The mean of each row and its variance in float32, made when first asked for."""

    def __init__(self, tt, rows, mean=None):
        self._tt, self._rows, self._mean, self._variance = tt, rows, mean, None

    def mean(self):
        if self._mean is None:
            self._mean = reduce(self._tt, "mean", widen(self._tt, self._rows), -1, keepdim=True)
        return self._mean

    def variance(self):
        if self._variance is None:
            tt, rows = self._tt, widen(self._tt, self._rows)
            if self._mean is None:
                self._mean = reduce(tt, "mean", rows, -1, keepdim=True)
            squares = tt.squared_difference(rows, self._mean)
            self._variance = reduce(tt, "mean", squares, -1, keepdim=True)
        return self._variance

    def saved(self, epsilon, shape, dtype):
        """Functions that make the mean and the reciprocal of the deviation, in a shape and dtype."""
        tt = self._tt

        def reciprocal():
            return tt.rsqrt(tt.add(self.variance(), epsilon))

        return [lambda make=make: cast(tt, as_shape(tt, make(), shape), dtype) for make in (self.mean, reciprocal)]


def normalized(tt, rows, epsilon, weight=None, bias=None):
    """Each row by its own statistics; and the mean of each if it was made.

    ttnn's kernel cuts float32 numbers to three digits before it takes the mean from them, and if that is large, nothing
    is left of what they differ by: such rows go there less their mean. Those in bfloat16 are not cut.
    """
    mean = None
    if rows.dtype == tt.float32:
        mean = reduce(tt, "mean", rows, -1, keepdim=True)
        rows = tt.subtract(rows, mean)
    out = tt.layer_norm(rows, epsilon=epsilon, weight=weight, bias=bias, compute_kernel_config=accurate(tt))
    return out, mean


def dtype_of(x, *given):
    return next((parameter.dtype for parameter in given if parameter is not None), x.dtype)


def shaped(tt, parameter, shape, dtype):
    """A parameter in a shape and dtype, made once while its upload is kept; None stays None."""
    if parameter is None:
        return None
    return tt.prepared(parameter, (*shape, dtype), lambda: as_shape(tt, cast(tt, parameter, dtype), shape))


def scaled(tt, x, weight, bias, shape):
    """float32 values, times a weight and plus a bias for each channel."""
    if weight is not None:
        x = tt.multiply(x, shaped(tt, weight, shape, tt.float32))
    return x if bias is None else tt.add(x, shaped(tt, bias, shape, tt.float32))


def layer_norm_samples():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [7], rand(7, dtype=dtype), rand(7, dtype=dtype), 1e-5)
        yield Sample(rand(2, 3, 40, dtype=dtype), [40], rand(40, dtype=dtype), None, 1e-2)
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), [5, 7], rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), 1e-5)
        yield Sample(rand(9, dtype=dtype), [9], None, rand(9, dtype=dtype), 1e-5)
        yield Sample(rand(2, 33, 64, dtype=dtype), [33, 64], None, None, 1e-5)
    yield Sample(1000 + ints(5, 8, low=-64, high=64) / 64, [8], None, None, 1e-5)  # the means have no rounding on CPU
    yield Sample(rand(5, 1), [1], rand(1), None, 1e-5)
    yield Sample(rand(5, 7, dtype=BFLOAT16), [7], rand(7), rand(7), 1e-5)
    yield Sample(rand(5, 7), [7], rand(7, dtype=BFLOAT16), None, 1e-5)
    yield Sample(rand(5, 7).double(), [7], None, None, 1e-5)
    yield Sample(rand(5, 7), [7], None, None, -1e-5)


@lower(
    aten.native_layer_norm.default,
    samples=layer_norm_samples,
    outputs=statistics_on_cpu,
    takes=FLOATS,
    chip=NAN_IS_A_NUMBER,
    when=[ONE_DTYPE, EPSILON],
    apart=Leading("input", lambda call: len(call["normalized_shape"])),
)
def native_layer_norm(tt, input, normalized_shape, weight, bias, eps):
    dims, size = len(normalized_shape), prod(normalized_shape)
    shape = shape_of(input)
    lead = shape[: len(shape) - dims]
    rows = input if dims == 1 else as_shape(tt, input, [*lead, size])
    dtype = dtype_of(rows, weight, bias)
    given = [shaped(tt, value, [size], dtype) for value in (weight, bias)]
    out, mean = normalized(tt, cast(tt, rows, dtype), eps, *given)
    found = Statistics(tt, rows, mean).saved(eps, [*lead, *[1] * dims], dtype)
    out = cast(tt, out, rows.dtype)
    return out if dims == 1 else as_shape(tt, out, shape), *found


def group_norm_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 6, 5, 7, dtype=dtype), rand(6, dtype=dtype), rand(6, dtype=dtype), 2, 6, 35, 3, 1e-5)
        yield Sample(rand(3, 4, dtype=dtype), None, None, 3, 4, 1, 2, 1e-2)
        yield Sample(rand(2, 8, 40, dtype=dtype), None, rand(8, dtype=dtype), 2, 8, 40, 1, 1e-5)
    yield Sample(rand(2, 4, 2, 3, 3), rand(4), None, 2, 4, 18, 4, 1e-5)
    yield Sample(rand(2, 4, 5, 3, dtype=BFLOAT16), rand(4), rand(4), 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), rand(4, dtype=BFLOAT16), None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3).double(), None, None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), None, None, -2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), rand(1), None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), None, None, 2, 4, 15, 2, -1e-5)


def other_sizes(call):
    shape, sizes = call["input"].shape, [call["N"], call["C"], call["HxW"]]
    return None if sizes == [*shape[:2], prod(shape[2:])] else f"{sizes} for {call['input']}"


def odd_parameter(call):
    """A parameter or statistic that does not have one number for each channel."""
    channels = call["input"].shape[1]
    names = [name for name in ("weight", "bias", "running_mean", "running_var") if name in call.arguments]
    return next((f"{name} {meta}" for name, meta in call.tensors(*names) if meta.shape != (channels,)), None)


ONE_EACH = Check("one number for each channel in each parameter", odd_parameter, because="PyTorch takes no others")


@lower(
    aten.native_group_norm.default,
    samples=group_norm_samples,
    outputs=statistics_on_cpu,
    takes=FLOATS,
    chip=NAN_IS_A_NUMBER,
    when=[
        ONE_DTYPE,
        Check("N, C and HxW as the input has them", other_sizes, because="PyTorch takes no others"),
        ONE_EACH,
        EPSILON,
    ],
)
def native_group_norm(tt, input, weight, bias, N, C, HxW, group, eps):
    rows = as_shape(tt, input, [N, group, C // group * HxW])
    out, mean = normalized(tt, widen(tt, rows), eps)
    out = cast(tt, scaled(tt, as_shape(tt, out, [N, C, HxW]), weight, bias, [1, C, 1]), input.dtype)
    found = Statistics(tt, rows, mean).saved(eps, [N, group], dtype_of(rows, weight, bias))
    return as_shape(tt, out, input.shape), *found
