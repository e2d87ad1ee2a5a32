"""Losses of probabilities of yes and no, and their gradients."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, OneOf, SameDtype, SameShape
from ..registry import cpu_only, lower
from ..samples import Sample, rand
from .elementwise_losses import BOTH, ONLY, SPREAD, reduced
from .losses import MEAN, NONE, SUM
from .vocabulary import cast, widen

aten = torch.ops.aten

LEAST = 1e-12  # PyTorch divides by no less


def bits(*shape, dtype=torch.float32):
    return rand(*shape, low=0.05, high=0.95, dtype=dtype)


def probabilities():
    yield Sample(bits(5, 7), bits(5, 7), None, MEAN)


cpu_only(
    aten.binary_cross_entropy.default,
    because="PyTorch looks at the values, and raises for one that is no probability",
    samples=probabilities,
)


def unlike(*names):
    """The condition that these tensors spread to the shape of self."""

    def wider(call):
        shape = call["self"].shape
        others = call.tensors(*names)
        return next((f"{name} {meta}" for name, meta in others if not spreads(meta.shape, shape)), None)

    return Check(f"{' and '.join(names)} of self's shape, or spread to it", wider, because=SPREAD)


def spreads(shape, wanted):
    return len(shape) <= len(wanted) and all(
        have in (1, want) for have, want in zip(reversed(shape), reversed(wanted), strict=False)
    )


def logits():
    for dtype in FLOATS:
        for reduction in (NONE, MEAN, SUM):
            yield Sample(rand(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), None, None, reduction)
            yield Sample(rand(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), bits(7, dtype=dtype), None, reduction)
        yield Sample(rand(2, 3, 40, dtype=dtype), bits(2, 3, 40, dtype=dtype), None, bits(40, dtype=dtype), MEAN)
        yield Sample(rand(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), bits(5, 1, dtype=dtype), bits(dtype=dtype), SUM)
    yield Sample(torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, 90, -90]), torch.zeros(6), None, None, NONE)
    yield Sample(rand(5, 7).double(), bits(5, 7).double(), None, None, MEAN)
    yield Sample(rand(5, 7), bits(5, 7, dtype=torch.bfloat16), None, None, MEAN)
    yield Sample(rand(5, 7), bits(7), None, None, NONE)
    yield Sample(rand(5, 7), bits(5, 7), bits(2, 5, 7), None, NONE)
    yield Sample(rand(5, 7), bits(5, 7), None, None, 3)


@lower(
    aten.binary_cross_entropy_with_logits.default,
    samples=logits,
    takes=FLOATS,
    when=[
        SameDtype(("self", "target", "weight", "pos_weight")),
        SameShape(BOTH, because=SPREAD),
        unlike("weight", "pos_weight"),
        OneOf("reduction", (NONE, MEAN, SUM)),
    ],
)
def binary_cross_entropy_with_logits(tt, self, target, weight, pos_weight, reduction):
    x, y = widen(tt, self), widen(tt, target)
    # -log(sigmoid(x)), of which no part overflows.
    missed = tt.add(tt.relu(tt.neg(x)), tt.log1p(tt.exp(tt.neg(tt.abs(x)))))
    if pos_weight is not None:
        missed = tt.multiply(missed, tt.add(tt.multiply(tt.subtract(widen(tt, pos_weight), 1.0), y), 1.0))
    losses = tt.add(tt.multiply(tt.rsub(y, 1.0), x), missed)
    if weight is not None:
        losses = tt.multiply(losses, widen(tt, weight))
    return reduced(tt, losses, reduction, self.dtype)


def gradients():
    for dtype in FLOATS:
        for reduction in (NONE, MEAN, SUM):
            grad = rand(*([5, 7] if reduction == NONE else []), dtype=dtype)
            yield Sample(grad, bits(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), None, reduction)
            yield Sample(grad, bits(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), bits(5, 7, dtype=dtype), reduction)
    yield Sample(rand(4), torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]), None, NONE)
    yield Sample(rand().double(), bits(5, 7).double(), bits(5, 7).double(), None, MEAN)
    yield Sample(rand().bfloat16(), bits(5, 7), bits(5, 7), None, MEAN)
    yield Sample(rand(5, 7), bits(5, 7), bits(7), None, NONE)
    yield Sample(rand(5, 7), bits(5, 7), bits(5, 7), None, MEAN)
    yield Sample(rand(), bits(5, 7), bits(5, 7), bits(2, 5, 7), MEAN)
    yield Sample(rand(), bits(5, 7), bits(5, 7), None, 3)


def other_gradient(call):
    wanted = call["self"].shape if call["reduction"] == NONE else ()
    return None if call["grad_output"].shape == wanted else str(call["grad_output"])


@lower(
    aten.binary_cross_entropy_backward.default,
    samples=gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_output", "self", "target", "weight")),
        SameShape(BOTH, because=SPREAD),
        unlike("weight"),
        OneOf("reduction", (NONE, MEAN, SUM)),
        Check("a gradient of the loss's shape", other_gradient, because=ONLY),
    ],
)
def binary_cross_entropy_backward(tt, grad_output, self, target, weight, reduction):
    x, y = widen(tt, self), widen(tt, target)
    spread = tt.clamp(tt.multiply(tt.rsub(x, 1.0), x), min=LEAST)
    made = tt.multiply(tt.divide(tt.subtract(x, y), spread), widen(tt, grad_output))
    if weight is not None:
        made = tt.multiply(made, widen(tt, weight))
    made = tt.multiply(made, 1 / prod(self.shape)) if reduction == MEAN else made
    return cast(tt, made, self.dtype)
