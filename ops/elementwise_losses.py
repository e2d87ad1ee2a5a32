"""Losses of each element by itself, such as mse_loss, and their gradients."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, AtLeast, Check, OneOf, SameDtype, SameShape
from ..registry import lower
from ..samples import Sample, rand
from .losses import MEAN, NONE, SUM
from .vocabulary import NAN_IS_A_LIMIT, cast, in_float32, reduce, widen

aten = torch.ops.aten

BOTH, ALL = ("self", "target"), ("grad_output", "self", "target")
ONLY = "PyTorch takes no others"
SPREAD = "one shape, since each is a tensor of its own in the loss"
WHEN = [SameDtype(BOTH), SameShape(BOTH, because=SPREAD), OneOf("reduction", (NONE, MEAN, SUM))]


def reduced(tt, losses, reduction, dtype):
    """The losses in a dtype; their mean or sum, of what that dtype holds of each."""
    losses = cast(tt, losses, dtype)
    if reduction == NONE:
        return losses
    return cast(tt, reduce(tt, "mean" if reduction == MEAN else "sum", widen(tt, losses)), dtype)


def loss_samples(*more):
    """Samples with every reduction, and each of the further arguments; then what is refused."""

    def samples():
        for dtype in FLOATS:
            for given in more or ((),):
                for reduction in (NONE, MEAN, SUM):
                    yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), reduction, *given)
        yield Sample(rand(), rand(), MEAN, *given)
        yield Sample(rand(2, 3, 40), rand(2, 3, 40), MEAN, *given)
        yield Sample(torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0]), torch.zeros(4), NONE, *given)
        yield Sample(rand(5, 7).double(), rand(5, 7).double(), MEAN, *given)
        yield Sample(rand(5, 7), rand(5, 7, dtype=torch.bfloat16), MEAN, *given)
        yield Sample(rand(5, 7), rand(7), NONE, *given)
        yield Sample(rand(5, 7), rand(5, 7), 3, *given)

    return samples


def gradient_samples(*more):
    """The same of a gradient, which has the shape of the loss."""

    def samples():
        for sample in loss_samples(*more)():
            given, target, reduction, *rest = sample.args
            grad = rand(*given.shape) if reduction == NONE else rand()
            yield Sample(grad.to(given.dtype), given, target, reduction, *rest)
        yield Sample(rand(2).bfloat16(), rand(2), rand(2), NONE, *rest)
        yield Sample(rand(2), rand(2), rand(2), MEAN, *rest)

    return samples


def other_gradient(call):
    """The gradient, if it is not one number for a mean or sum, and one for each element otherwise."""
    wanted = call["self"].shape if call["reduction"] == NONE else ()
    return None if call["grad_output"].shape == wanted else str(call["grad_output"])


OF_GRADIENT = [
    SameDtype(ALL),
    SameShape(BOTH, because=SPREAD),
    OneOf("reduction", (NONE, MEAN, SUM)),
    Check("a gradient of the loss's shape", other_gradient, because="it says how much each loss counts"),
]


def loss_of(tt, each, self, target, reduction):
    """What the function gives of each element and its target; their mean or sum."""
    return reduced(tt, in_float32(tt, each, self, target), reduction, self.dtype)


def passed_back(tt, slope, grad_output, self, target, reduction):
    """The gradient of the loss times the function's slope at each element."""

    def of(grad, x, y):
        made = tt.multiply(slope(x, y), grad)
        return tt.multiply(made, 1 / prod(self.shape)) if reduction == MEAN else made

    return in_float32(tt, of, grad_output, self, target)


def within(tt, difference, limit):
    """Where a difference is below the limit: the loss is a square there."""
    return tt.lt(tt.abs(difference), limit)


@lower(aten.mse_loss.default, samples=loss_samples(), takes=FLOATS, when=WHEN)
def mse_loss(tt, self, target, reduction):
    return loss_of(tt, lambda x, y: tt.square(tt.subtract(x, y)), self, target, reduction)


@lower(aten.mse_loss_backward.default, samples=gradient_samples(), takes=FLOATS, when=OF_GRADIENT)
def mse_loss_backward(tt, grad_output, self, target, reduction):
    return passed_back(tt, lambda x, y: tt.multiply(tt.subtract(x, y), 2.0), grad_output, self, target, reduction)


NOT_BELOW_0 = AtLeast("beta", 0, because=ONLY)


@lower(
    aten.smooth_l1_loss.default,
    samples=loss_samples((-1.0,), (1.0,), (0.25,), (0.0,)),
    takes=FLOATS,
    when=[*WHEN, NOT_BELOW_0],
)
def smooth_l1_loss(tt, self, target, reduction, beta):
    def each(x, y):
        far = tt.abs(tt.subtract(x, y))
        if beta == 0:
            return far
        return tt.where(tt.lt(far, beta), tt.multiply(tt.square(far), 0.5 / beta), tt.subtract(far, 0.5 * beta))

    return loss_of(tt, each, self, target, reduction)


@lower(
    aten.smooth_l1_loss_backward.default,
    samples=gradient_samples((-1.0,), (1.0,), (0.25,), (0.0,)),
    takes=FLOATS,
    when=[*OF_GRADIENT, NOT_BELOW_0],
    chip="a difference that is NaN has a gradient of 1 or -1, by its sign",
)
def smooth_l1_loss_backward(tt, grad_output, self, target, reduction, beta):
    def slope(x, y):
        difference = tt.subtract(x, y)
        inner = tt.multiply(difference, 1 / beta) if beta else difference  # of which NaN alone is left then
        return tt.where(tt.le(difference, -beta), -1.0, tt.where(tt.ge(difference, beta), 1.0, inner))

    return passed_back(tt, slope, grad_output, self, target, reduction)


ABOVE_0 = Check("delta above 0", lambda call: None if call["delta"] > 0 else str(call["delta"]), because=ONLY)


@lower(
    aten.huber_loss.default,
    samples=loss_samples((1.0,), (0.25,), (0.0,)),
    takes=FLOATS,
    when=[*WHEN, ABOVE_0],
)
def huber_loss(tt, self, target, reduction, delta):
    def each(x, y):
        far = tt.abs(tt.subtract(x, y))
        line = tt.multiply(tt.subtract(far, 0.5 * delta), delta)
        return tt.where(tt.le(far, delta), tt.multiply(tt.square(far), 0.5), line)

    return loss_of(tt, each, self, target, reduction)


@lower(
    aten.huber_loss_backward.default,
    samples=gradient_samples((1.0,), (0.25,), (0.0,)),
    takes=FLOATS,
    when=[*OF_GRADIENT, ABOVE_0],
    chip=NAN_IS_A_LIMIT,
)
def huber_loss_backward(tt, grad_output, self, target, reduction, delta):
    def slope(x, y):
        return tt.clamp(tt.subtract(x, y), min=-delta, max=delta)

    return passed_back(tt, slope, grad_output, self, target, reduction)


@lower(aten.soft_margin_loss.default, samples=loss_samples(), takes=FLOATS, when=WHEN)
def soft_margin_loss(tt, self, target, reduction):
    def each(x, y):
        return tt.log1p(tt.exp(tt.neg(tt.multiply(x, y))))

    return loss_of(tt, each, self, target, reduction)


@lower(aten.soft_margin_loss_backward.default, samples=gradient_samples(), takes=FLOATS, when=OF_GRADIENT)
def soft_margin_loss_backward(tt, grad_output, self, target, reduction):
    def slope(x, y):
        power = tt.exp(tt.neg(tt.multiply(x, y)))
        # As on CPU: where the power is infinite, the slope is NaN.
        return tt.neg(tt.multiply(y, tt.divide(power, tt.add(power, 1.0))))

    return passed_back(tt, slope, grad_output, self, target, reduction)
