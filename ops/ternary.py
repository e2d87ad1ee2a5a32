"""Arithmetic of three tensors, as optimizers do it."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import together
from .vocabulary import BF16, operand

aten = torch.ops.aten

THREE = ("self", "tensor1", "tensor2")


def three_tensors():
    for low in (0.5, -2.0):
        yield Sample(rand(5, 7), rand(5, 7, low=low), rand(5, 7, low=0.5))
        yield Sample(rand(33, 40), rand(40), rand(33, 1, low=0.5), value=-0.1)
        yield Sample(rand(2, 3, 40, dtype=BF16), rand(40, dtype=BF16), rand(3, 1, dtype=BF16, low=0.5), value=2)
    yield Sample(rand(5, 7), rand(5, 7, dtype=BF16), rand(low=0.5))
    yield Sample(rand(), rand(), rand(low=0.5))
    yield Sample(rand(2, 1, 3), rand(4, 1), rand(3, low=0.5))
    yield Sample(rand(5, 7).double(), rand(5, 7).double(), rand(5, 7).double())


@lower(aten.addcmul.default, samples=three_tensors, takes=together(THREE, FLOATS))
def addcmul(tt, self, tensor1, tensor2, value):
    return tt.addcmul(self, tensor1, tensor2, value=float(value))


# Not promoted: PyTorch raises for integers over integers, also beside a float32.
@lower(aten.addcdiv.default, samples=three_tensors, takes=FLOATS, when=[SameDtype(THREE)])
def addcdiv(tt, self, tensor1, tensor2, value):
    return tt.addcdiv(self, tensor1, tensor2, value=float(value))


def weighted():
    for dtype in FLOATS:
        for weight in (0.1, 0.75, 1):
            yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), weight)
        yield Sample(rand(2, 3, 40, dtype=dtype), rand(40, dtype=dtype), 0.3)
    yield Sample(rand(), rand(), 0.3)
    yield Sample(rand(5, 7).double(), rand(5, 7).double(), 0.3)


def weighted_by_tensors():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype, low=0.0, high=1.0))
        yield Sample(rand(2, 3, 40, dtype=dtype), rand(40, dtype=dtype), rand(3, 1, dtype=dtype))
        yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), rand(dtype=dtype))
    yield Sample(rand(5, 7).double(), rand(5, 7).double(), rand(5, 7).double())


@lower(aten.lerp.Scalar, samples=weighted, takes=FLOATS)
@lower(aten.lerp.Tensor, samples=weighted_by_tensors, takes=FLOATS)
def lerp(tt, self, end, weight):
    return tt.lerp(self, end, operand(tt, weight, self))
