"""Gradients of activation functions, composed of the functions' own parts."""

from __future__ import annotations

from typing import Any

import torch

from ..conditions import FLOATS, AtLeast, Check, OneOf, SameDtype, SameShape
from ..registry import lower
from ..samples import Sample, rand
from ._special import normal_cdf, normal_density
from .activation import ELU_CALLS, gelu_variant
from .vocabulary import BF16, DENORMALS_ARE_ZERO, element, first_strides, in_float32, not_above, of_sigmoid, scaled

aten = torch.ops.aten

NAN, INF = float("nan"), float("inf")
NO_NAN = "PyTorch's kernel takes NaN for one thing in vectors and for another in what remains"


def gradients(*arguments: tuple, low: float = -4.0, high: float = 4.0):
    """Samples: a gradient, what the op was given (or gave), and each of the further arguments."""

    def samples():
        for more in arguments or ((),):
            yield Sample(rand(5, 7), rand(5, 7, low=low, high=high), *more)
            yield Sample(rand(2, 3, 40, dtype=BF16), rand(2, 3, 40, dtype=BF16, low=low, high=high), *more)
        yield Sample(rand(), rand(low=low, high=high), *(arguments or ((),))[0])
        at_the_corners = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]).clamp(low, high)
        yield Sample(torch.ones(7), at_the_corners, *more)
        yield Sample(rand(5, 7), rand(5, 7, dtype=BF16), *more)
        yield Sample(rand(5, 7).double(), rand(5, 7).double(), *more)

    return samples


def zero_where(tt: Any, mask: Any, grad: Any) -> Any:
    """The gradient, but 0 where the mask is set: also where the gradient is not finite."""
    return tt.where(mask, 0.0, grad)


def only_where(tt: Any, mask: Any, grad: Any) -> Any:
    """The gradient where the mask is set, else 0. NaN is within no limits and beyond none: no mask is set there."""
    return tt.where(mask, grad, 0.0)


BOTH = ("grad_output", "self")


@lower(
    aten.threshold_backward.default,
    samples=gradients((0,), (0.5,)),
    takes=FLOATS,
    when=[SameDtype(BOTH)],
    chip=DENORMALS_ARE_ZERO,
)
def threshold_backward(tt, grad_output, self, threshold):
    return zero_where(tt, tt.le(self, not_above(tt, threshold, self)), grad_output)


def gelu_gradients():
    for sample in gradients()():
        yield sample
        yield Sample(*sample.args, approximate="tanh")
    yield Sample(rand(5, 7), rand(5, 7), approximate="erf")
    yield Sample(rand(5, 7), rand(7))


@lower(
    aten.gelu_backward.default,
    samples=gelu_gradients,
    takes=FLOATS,
    when=[
        SameDtype(BOTH),
        SameShape(("grad_output", "self"), because="PyTorch takes no others"),
        OneOf("approximate", ("none", "tanh"), because="PyTorch has no others"),
    ],
)
def gelu_backward(tt, grad_output, self, approximate):
    if approximate == "tanh":
        return tt.gelu_bw(grad_output, self, variant=gelu_variant(tt, approximate))[0]

    def gradient(grad, x):
        # ttnn's is 1e-2 off.
        return tt.multiply(grad, tt.add(normal_cdf(tt, x), tt.multiply(x, normal_density(tt, x))))

    return in_float32(tt, gradient, grad_output, self)


def lower_by_result(op, low, high, gradient):
    """The entry of a gradient that follows from what the function gave, which is from `low` to `high`."""

    @lower(
        op,
        samples=gradients(low=low, high=high),
        takes=FLOATS,
        when=[SameDtype(("grad_output", "output"))],
        chip=DENORMALS_ARE_ZERO,
    )
    def backward(tt, grad_output, output):
        return in_float32(tt, lambda grad, y: gradient(tt, grad, y), grad_output, output)


def of_sigmoid_result(tt, grad, y):
    return tt.multiply(tt.multiply(grad, tt.rsub(y, 1.0)), y)


def of_tanh_result(tt, grad, y):
    return tt.multiply(grad, tt.rsub(tt.square(y), 1.0))


lower_by_result(aten.sigmoid_backward.default, 0.0, 1.0, of_sigmoid_result)
lower_by_result(aten.tanh_backward.default, -1.0, 1.0, of_tanh_result)


@lower(
    aten.hardsigmoid_backward.default, samples=gradients(), outputs=first_strides, takes=FLOATS, when=[SameDtype(BOTH)]
)
def hardsigmoid_backward(tt, grad_output, self):
    return only_where(tt, tt.lt(tt.abs(self), 3.0), tt.multiply(grad_output, 1 / 6))


@lower(
    aten.hardswish_backward.default, samples=gradients(), outputs=first_strides, takes=FLOATS, when=[SameDtype(BOTH)]
)
def hardswish_backward(tt, grad_output, self):
    def gradient(grad, x):
        inside = tt.multiply(grad, tt.add(tt.multiply(x, 1 / 3), 0.5))
        return tt.where(tt.le(x, -3.0), 0.0, tt.where(tt.ge(x, 3.0), grad, inside))

    return in_float32(tt, gradient, grad_output, self)


def negative_of_result(call):
    slope = call["negative_slope"]
    return str(slope) if call["self_is_result"] and not slope >= 0 else None  # NaN is refused too


@lower(
    aten.leaky_relu_backward.default,
    samples=gradients((0.01, False), (-0.2, True), (0.2, True)),
    takes=FLOATS,
    when=[
        SameDtype(BOTH),
        Check("a slope of at least 0 where self is the result", negative_of_result, because="PyTorch refuses"),
    ],
)
def leaky_relu_backward(tt, grad_output, self, negative_slope, self_is_result):
    # A result has its input's sign: PyTorch refuses a negative slope when it is given the result.
    return tt.where(tt.gtz(self), grad_output, tt.multiply(grad_output, float(negative_slope)))


@lower(
    aten.hardtanh_backward.default,
    samples=gradients((-1.0, 1.0), (NAN, 1.0), (-1.0, NAN), (0.0, 3)),
    outputs=first_strides,
    takes=FLOATS,
    when=[SameDtype(BOTH), *(AtLeast(name, -INF, because=NO_NAN) for name in ("min_val", "max_val"))],
)
def hardtanh_backward(tt, grad_output, self, min_val, max_val):
    above = tt.gt(self, not_above(tt, min_val, self))
    below = tt.lt(self, -not_above(tt, -max_val, self))
    return only_where(tt, tt.logical_and(above, below), grad_output)


def elu_gradients():
    for sample in gradients()():
        for call in ELU_CALLS:
            factors = (call["alpha"], call.get("scale", 1.0), call.get("input_scale", 1.0))
            grad, x = sample.args
            yield Sample(grad, *factors, False, x)
            yield Sample(grad, *factors, True, aten.elu(x, *factors))
    yield Sample(rand(5, 7), -1.0, 1.0, 1.0, True, rand(5, 7))


def negative_alpha_of_result(call):
    return str(call["alpha"]) if call["is_result"] and not call["alpha"] >= 0 else None


@lower(
    aten.elu_backward.default,
    samples=elu_gradients,
    outputs=first_strides,
    takes=FLOATS,
    when=[
        SameDtype(("grad_output", "self_or_result")),
        Check("an alpha of at least 0 where the result is given", negative_alpha_of_result, because="PyTorch refuses"),
    ],
)
def elu_backward(tt, grad_output, alpha, scale, input_scale, is_result, self_or_result):
    def gradient(grad, x):
        # In PyTorch's order, in which a large gradient overflows.
        if is_result:
            slope = tt.add(x, float(alpha * scale))
            negative = tt.multiply(scaled(tt, grad, input_scale), slope)
        else:
            slope = tt.exp(scaled(tt, x, input_scale))
            negative = tt.multiply(scaled(tt, grad, alpha * scale * input_scale), slope)
        return tt.where(tt.gtz(x), scaled(tt, grad, scale), negative)

    return in_float32(tt, gradient, grad_output, self_or_result)


@lower(
    aten.softplus_backward.default,
    samples=gradients((1.0, 20.0), (2, 5)),
    outputs=first_strides,
    takes=FLOATS,
    when=[SameDtype(BOTH)],
)
def softplus_backward(tt, grad_output, self, beta, threshold):
    def gradient(grad, x):
        x = scaled(tt, x, beta)
        return tt.where(tt.gt(x, float(threshold)), grad, tt.multiply(grad, of_sigmoid(tt, x)))

    return in_float32(tt, gradient, grad_output, self)


def log_sigmoid_gradients():
    for sample in gradients()():
        yield Sample(*sample.args, torch.exp(-sample.args[1].abs()))
    yield Sample(rand(5, 7), rand(5, 7), rand(7))


@lower(
    aten.log_sigmoid_backward.default,
    samples=log_sigmoid_gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_output", "self", "buffer")),
        SameShape(("grad_output", "self", "buffer"), because="PyTorch's kernel reads them side by side"),
    ],
)
def log_sigmoid_backward(tt, grad_output, self, buffer):
    # The buffer holds exp(-|self|), which PyTorch's kernel for CPU saves from its forward pass.
    def gradient(grad, x):
        return tt.multiply(grad, of_sigmoid(tt, tt.neg(x)))

    return in_float32(tt, gradient, grad_output, self)


def beyond(tt, value, limit):
    return tt.gt(tt.abs(value), element(tt, limit, value))


NO_NAN_LAMBD = AtLeast("lambd", -INF, because=NO_NAN)


@lower(
    aten.softshrink_backward.default,
    samples=gradients((0.5,), (NAN,), (1,)),
    takes=FLOATS,
    when=[SameDtype(BOTH), NO_NAN_LAMBD],
)
def softshrink_backward(tt, grad_output, self, lambd):
    return only_where(tt, beyond(tt, self, lambd), grad_output)


@lower(
    aten.hardshrink_backward.default,
    samples=gradients((0.5,), (NAN,), (1,)),
    takes=FLOATS,
    when=[SameDtype(("grad_out", "self")), NO_NAN_LAMBD],
)
def hardshrink_backward(tt, grad_out, self, lambd):
    return only_where(tt, beyond(tt, self, lambd), grad_out)


def prelu_gradients():
    for dtype in (*FLOATS, torch.float64):
        weight = rand(1, 10, 1, 1, dtype=dtype)
        yield Sample(rand(2, 10, 6, 5, dtype=dtype), rand(2, 10, 6, 5, dtype=dtype), weight)
    yield Sample(rand(5, 10), rand(5, 10), rand(1, 10, dtype=BF16))
    yield Sample(rand(5, 10), rand(5, 10), rand(1, 1, 10))


def wider(call):
    shape = torch.broadcast_shapes(*(meta.shape for _, meta in call.tensors()))
    return None if shape == call["self"].shape else str(list(shape))


@lower(
    aten._prelu_kernel_backward.default,
    samples=prelu_gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_output", "self", "weight")),
        Check("the shape of self", wider, because="PyTorch gives the weight in its own shape"),
    ],
)
def prelu_backward(tt, grad_output, self, weight):
    positive = tt.gtz(self)
    to_self = tt.where(positive, grad_output, tt.multiply(grad_output, weight))
    return to_self, zero_where(tt, positive, tt.multiply(grad_output, self))
