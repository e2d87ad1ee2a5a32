"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..conditions import FLOATS, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..steps import always
from ._special import log1p_exp_of_minus_abs
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    NAN_IS_A_LIMIT,
    cast,
    contiguous,
    direct,
    element,
    number,
    of_sigmoid,
    one_tensor,
    scaled,
    widen,
)

aten = torch.ops.aten


def wide():
    return rand(5, 7, low=-8.0, high=8.0)


def called(*calls: dict[str, Any]):
    """Samples of an activation with each of the keyword arguments, besides those without any."""

    def samples():
        yield from one_tensor(-4.0, 4.0)()
        for call in calls:
            yield Sample(wide(), **call)
            yield Sample(wide().to(BF16), **call)

    return samples


for name in ("hardswish", "mish", "silu"):
    steps = always("SILU") if name == "silu" else None
    lower(getattr(aten, name).default, samples=called({}), takes=FLOATS, steps=steps)(direct(name))

lower(aten.hardsigmoid.default, samples=called({}), takes=FLOATS, chip="NaN becomes 1 or 0, by its sign")(
    direct("hardsigmoid")
)


@lower(aten.sigmoid.default, samples=called({}), takes=FLOATS)
def sigmoid(tt, self):
    return of_sigmoid(tt, self)


def relu_samples():
    yield from one_tensor()()
    yield Sample(ints(5, 7, low=-5, dtype=torch.int32))


@lower(
    aten.relu.default,
    samples=relu_samples,
    takes=(*FLOATS, torch.int32),
    chip="NaN whose sign bit is set, such as 0 / 0 gives on x86, becomes 0; keeping it would cost another call",
)
def relu(tt, self):
    return tt.relu(self)


@lower(
    aten.gelu.default,
    samples=called({"approximate": "none"}, {"approximate": "tanh"}),
    takes=FLOATS,
    chip="of an infinity it is one, where PyTorch's kernels for vectors give NaN",
)
def gelu(tt, self, approximate):
    return tt.gelu(self, variant=gelu_variant(tt, approximate))


def gelu_variant(tt: Any, approximate: str) -> Any:
    """ttnn's name for a value of `approximate`; its third variant is a table with errors of 1 %."""
    return tt.GeluVariant.Tanh if approximate == "tanh" else tt.GeluVariant.Accurate


# SELU arrives as ELU with a scale, CELU under autocast as ELU with an input scale.
ELU_CALLS = ({"alpha": 0.5}, {"alpha": 1.6732632, "scale": 1.050701}, {"alpha": 2.0, "scale": 1.5, "input_scale": 0.5})


NAN_IS_ALPHA = "NaN whose sign bit is set becomes -alpha"


@lower(aten.elu.default, samples=called(*ELU_CALLS), takes=FLOATS, chip=NAN_IS_ALPHA)
def elu(tt, self, alpha, scale, input_scale):
    if input_scale == 1:
        return scaled(tt, tt.elu(self, alpha=float(alpha)), scale)
    negative = tt.multiply(tt.expm1(tt.multiply(self, float(input_scale))), float(alpha * scale))
    return tt.where(tt.gtz(self), scaled(tt, self, scale), negative)


@lower(aten.celu.default, samples=called({"alpha": 0.5}, {"alpha": 3.0}), takes=FLOATS, chip=NAN_IS_ALPHA)
def celu(tt, self, alpha):
    return tt.celu(self, alpha=float(alpha))


@lower(
    aten.leaky_relu.default,
    samples=called({"negative_slope": 0.2}, {"negative_slope": 2}),
    takes=FLOATS,
)
def leaky_relu(tt, self, negative_slope):
    return tt.leaky_relu(self, negative_slope=float(negative_slope))


@lower(
    aten.hardtanh.default,
    samples=called({"min_val": 0.0, "max_val": 6.0}, {"min_val": -2, "max_val": 0.5}),
    takes=FLOATS,
    chip=NAN_IS_A_LIMIT,
)
def hardtanh(tt, self, min_val, max_val):
    return tt.clamp(self, min=number(tt, min_val, self), max=number(tt, max_val, self))


SOFTPLUS_IS_ITS_INPUT = 17  # from here on, in float32: log(1 + exp(-17)) is less than half a unit in the last place


@lower(
    aten.softplus.default,
    samples=called({"beta": 2, "threshold": 5}, {"beta": 0.5, "threshold": 1.0}),
    takes=FLOATS,
)
def softplus(tt, self, beta, threshold):
    # ttnn's softplus is 1e-4 off, and garbage far below 0.
    x = widen(tt, self)
    scaled = x if beta == 1 else tt.multiply(x, float(beta))
    made = tt.add(tt.relu(scaled), log1p_exp_of_minus_abs(tt, scaled))
    made = made if beta == 1 else tt.multiply(made, 1 / float(beta) if beta else math.inf)
    if threshold < SOFTPLUS_IS_ITS_INPUT or beta != 1:  # by which large numbers may have overflowed
        made = tt.where(tt.gt(scaled, float(threshold)), x, made)
    return cast(tt, made, self.dtype)


@lower(aten.log_sigmoid_forward.default, samples=called({}), outputs=contiguous, takes=FLOATS)
def log_sigmoid_forward(tt, self):
    # The second output is what PyTorch's backward kernel for CPU reads.
    # ttnn's log_sigmoid is 1e-2 off.
    x = widen(tt, self)
    made = tt.subtract(tt.minimum(x, 0.0), log1p_exp_of_minus_abs(tt, x))
    return cast(tt, made, self.dtype), lambda: tt.exp(tt.neg(tt.abs(self)))


def threshold_samples():
    for dtype in FLOATS:
        yield Sample(wide().to(dtype), 0.5, -3.0)
        yield Sample(wide().to(dtype), 0, 20)
    yield Sample(wide().double(), 0.5, -3.0)


@lower(aten.threshold.default, samples=threshold_samples, takes=FLOATS)
def threshold(tt, self, threshold, value):
    return tt.threshold(self, float(threshold), number(tt, value, self))


@lower(aten.softshrink.default, samples=called({"lambd": 1.5}, {"lambd": 0}), takes=FLOATS)
def softshrink(tt, self, lambd):
    return tt.softshrink(self, lambd=element(tt, lambd, self))


@lower(aten.hardshrink.default, samples=called({"lambd": 1.5}, {"lambd": 0}), takes=FLOATS)
def hardshrink(tt, self, lambd):
    return tt.hardshrink(self, lambd=element(tt, lambd, self))


def prelu_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 10, 6, 5, dtype=dtype), rand(1, 10, 1, 1, dtype=dtype))
        yield Sample(rand(3, 40, dtype=dtype), rand(1, 40, dtype=dtype))
        yield Sample(rand(3, 4, 5, dtype=dtype), rand(1, 1, 1, dtype=dtype))
    yield Sample(rand(), rand())
    yield Sample(rand(3, 40), rand(1, 40, dtype=BF16))
    yield Sample(rand(3, 40).double(), rand(1, 40).double())


@lower(
    aten._prelu_kernel.default,
    samples=prelu_samples,
    takes=FLOATS,
    chip=DENORMALS_ARE_ZERO,
    when=[SameDtype(("self", "weight"), because="PyTorch raises")],
)
def prelu(tt, self, weight):
    return tt.where(tt.gtz(self), self, tt.multiply(self, weight))
