"""Losses that pick one element for each target: the negative log-likelihood, of rows and of images."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from ..call import Call, describe
from ..conditions import FLOATS, Check, OneOf, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Ignoring
from .vocabulary import COUNTABLE, as_shape, at_most, cast, contiguous, one_number, reduce, widen

aten = torch.ops.aten

NONE, MEAN, SUM = range(3)


def classes(call: Call) -> int:
    shape = call["self"].shape
    return shape[0] if len(shape) == 1 else shape[1]


def other_shape(call: Call) -> str | None:
    shape = list(call["self"].shape)
    target = list(call["target"].shape)
    return describe(target) if target != shape[:1] * (len(shape) > 1) + shape[2:] else None


WHEN = [
    SameDtype(("self", "weight")),
    OneOf("reduction", (NONE, MEAN, SUM)),
    Check("target has the shape of self without its classes", other_shape, because="PyTorch raises"),
    at_most(COUNTABLE, "at most {} classes", classes, because="they are counted in float32"),
]


def counted(call: Call) -> tuple[int, int]:
    """How many classes there are, and which of them is ignored."""
    return classes(call), call["ignore_index"]


PICKED: dict[str, Any] = {
    "self": FLOATS,
    "target": Ignoring(
        (torch.int64,), below=counted, with_dim=True, as_numbers=True, because="PyTorch takes no other classes"
    ),
    "weight": FLOATS,
}


def picked_samples(*shapes):
    """Samples with every reduction, with and without weights and ignored targets, then what is refused."""

    def samples():
        for dtype in FLOATS:
            for shape in shapes:
                count = shape[0] if len(shape) == 1 else shape[1]
                target = ints(*(shape[:1] * (len(shape) > 1)), *shape[2:], high=count)
                for reduction in (NONE, MEAN, SUM):
                    yield Sample(rand(*shape, dtype=dtype), target, None, reduction, -100)
                    yield Sample(rand(*shape, dtype=dtype), target, rand(count, dtype=dtype, low=0.5), reduction, 1)
        for reduction in (NONE, MEAN, SUM):
            for ignored in (-100, 2):
                for weight in (None, torch.full([3], torch.inf)):
                    yield Sample(*everything(ignored), weight, reduction, ignored)
        shape = next(shape for shape in shapes if len(shape) > 1)
        target = ints(*shape[:1], *shape[2:], high=shape[1])
        yield Sample(rand(*shape), target.mT.contiguous().mT if target.ndim > 1 else target, None, NONE, -100)
        yield Sample(rand(*shape).double(), target, None, MEAN, -100)
        yield Sample(rand(*shape), target, rand(shape[1], dtype=torch.bfloat16), MEAN, -100)
        yield Sample(rand(*shape), target.to(torch.int32), None, MEAN, -100)
        yield Sample(rand(*shape), target, None, 3, -100)
        yield Sample(rand(*shape), target[:1], None, MEAN, -100)
        many = rand(1).expand([1, COUNTABLE + 1, *shape[2:]])
        yield Sample(many, target[:1], None, MEAN, -100)

    def everything(ignored):
        """Elements that are not finite, and targets that pick or ignore them."""
        shape = [2, 3, 1, 2] if len(shapes[0]) == 4 else [4, 3]
        values = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.5]).repeat(3).view(shape)
        target = torch.tensor([0, ignored, 0, 1]).view([shape[0], *shape[2:]])
        return values, target

    return samples


@lower(
    aten.nll_loss_forward.default,
    samples=picked_samples((5, 7), (40, 33), (7,), (1, 1)),
    takes=PICKED,
    when=WHEN,
)
@lower(
    aten.nll_loss2d_forward.default,
    samples=picked_samples((2, 3, 4, 5), (1, 33, 2, 40)),
    takes=PICKED,
    outputs=contiguous,
    when=WHEN,
)
def nll_loss(tt, self, target, weight, reduction, ignore_index):
    shape = list(self.shape) if len(self.shape) > 1 else [1, self.shape[0]]
    count, places = shape[1], [shape[0], 1, *shape[2:]]
    number = as_shape(tt, target, places)
    kept = tt.lt(number, float(count))  # an ignored target arrives as the number of classes
    index = tt.typecast(tt.clamp(number, max=count - 1.0), tt.uint32)
    losses = tt.neg(widen(tt, tt.gather(as_shape(tt, self, shape), 1, index=index)))
    weights = widen(tt, kept)
    if weight is not None:
        row = as_shape(tt, index, [1, prod(places)])
        given = widen(tt, tt.gather(as_shape(tt, weight, [1, count]), 1, index=row))
        given = as_shape(tt, given, places)
        losses, weights = tt.multiply(losses, given), tt.where(kept, given, 0.0)
    losses = tt.where(kept, losses, 0.0)
    if reduction == NONE and len(self.shape) > 1:
        return cast(tt, as_shape(tt, losses, [shape[0], *shape[2:]]), self.dtype), lambda: no_weight(tt, self.dtype)
    total, whole = reduce(tt, "sum", losses), reduce(tt, "sum", weights)
    result = tt.divide(total, whole) if reduction == MEAN else total
    return cast(tt, result, self.dtype), cast(tt, whole, self.dtype)


def no_weight(tt, dtype):
    """The weight of losses that are not added up, as PyTorch gives it."""
    return cast(tt, tt.constant(one_number(0.0, torch.float32, 0)), dtype)
