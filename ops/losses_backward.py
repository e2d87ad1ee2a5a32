"""Gradients of the losses that pick one element for each target."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from .losses import MEAN, NONE, PICKED, WHEN, picked_samples
from .vocabulary import as_shape, cast, contiguous, from_sizes, widen

aten = torch.ops.aten


def gradients(*shapes):
    """The samples of the loss, with a gradient of what it gives."""

    def samples():
        for sample in picked_samples(*shapes)():
            given, target, weight, reduction, ignored = sample.args
            grad = rand(*target.shape) if reduction == NONE and given.ndim > 1 else rand()
            total = rand(low=0.5, high=2.0)
            dtype = given.dtype
            yield Sample(grad.to(dtype), given, target, weight, reduction, ignored, total.to(dtype))
        given = rand(*shapes[0])
        target = target[:1].expand(given.shape[0], *given.shape[2:]) if given.ndim > 1 else target[0]
        yield Sample(rand(3, 3), given, target, None, NONE, -100, rand())
        yield Sample(rand(), given, target, None, MEAN, -100, rand(1))

    return samples


def other_gradient(call):
    """The gradient or the weight, if they do not have the shapes of what the loss gives."""
    each = call["reduction"] == NONE and call["self"].ndim > 1
    grad, total = call["grad_output"], call["total_weight"]
    fits = grad.shape == (call["target"].shape if each else ()) and total.shape == ()
    return None if fits else f"{grad} and {total}"


WHEN_BACK = [
    SameDtype(("grad_output", "self", "weight", "total_weight")),
    Check("a gradient and a weight of the loss's shapes", other_gradient, because="PyTorch takes no others"),
    *WHEN[1:],
]


@lower(
    aten.nll_loss_backward.default,
    samples=gradients((5, 7), (40, 33), (7,), (1, 1)),
    takes={**PICKED, "grad_output": FLOATS, "total_weight": FLOATS},
    when=WHEN_BACK,
)
@lower(
    aten.nll_loss2d_backward.default,
    samples=gradients((2, 3, 4, 5), (1, 33, 2, 40)),
    takes={**PICKED, "grad_output": FLOATS, "total_weight": FLOATS},
    outputs=contiguous,
    when=WHEN_BACK,
)
def nll_loss_backward(tt, grad_output, self, target, weight, reduction, ignore_index, total_weight):
    shape = list(self.shape) if len(self.shape) > 1 else [1, self.shape[0]]
    rank, row = len(shape), [1, shape[1]] + [1] * (len(shape) - 2)
    places = [shape[0], 1, *shape[2:]]
    number = as_shape(tt, target, places)
    # An ignored target arrives as the number of classes, and so picks none.
    picked = tt.eq(number, tt.constant(numbers(shape[1], rank)))
    grad = widen(tt, grad_output)
    grad = as_shape(tt, grad, places if reduction == NONE and len(self.shape) > 1 else [1] * rank)
    if reduction == MEAN:
        grad = tt.divide(grad, as_shape(tt, widen(tt, total_weight), [1] * rank))
    grad = tt.neg(grad)
    if weight is not None:
        grad = tt.multiply(grad, as_shape(tt, widen(tt, weight), row))
    return cast(tt, as_shape(tt, tt.where(picked, grad, 0.0), self.shape), self.dtype)


@from_sizes
def numbers(classes: int, rank: int) -> torch.Tensor:
    """The classes' numbers, along the second dimension."""
    return torch.arange(classes, dtype=torch.float32).view(1, classes, *[1] * (rank - 2))
