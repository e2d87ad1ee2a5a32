"""Gated linear units and their gradient."""

from __future__ import annotations

from typing import Any

import torch

from ..apart import AllBut
from ..conditions import FLOATS, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from .vocabulary import in_float32, of_sigmoid

aten = torch.ops.aten


def glu_samples():
    for dtype in FLOATS:
        yield Sample(rand(5, 14, dtype=dtype))
        yield Sample(rand(2, 6, 5, dtype=dtype), 1)
        yield Sample(rand(4, 3, 70, dtype=dtype), 0)
    yield Sample(rand(128), -1)
    yield Sample(rand(5, 14).double())


@lower(aten.glu.default, samples=glu_samples, takes=FLOATS, apart=AllBut("self"))
def glu(tt, self, dim):
    left, right = halves(tt, self, dim)
    return tt.multiply(left, of_sigmoid(tt, right))


def halves(tt: Any, value: Any, dim: int) -> tuple[Any, Any]:
    """The first and second half along a dimension."""
    shape = list(value.shape)
    dim %= len(shape)
    ends, starts = list(shape), [0] * len(shape)
    ends[dim] = starts[dim] = shape[dim] // 2
    return tt.slice(value, [0] * len(shape), ends), tt.slice(value, starts, shape)


def glu_gradients():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), rand(5, 14, dtype=dtype), -1)
        yield Sample(rand(2, 3, 5, dtype=dtype), rand(2, 6, 5, dtype=dtype), 1)
        yield Sample(rand(2, 3, 70, dtype=dtype), rand(4, 3, 70, dtype=dtype), 0)
    yield Sample(rand(64), rand(128), -1)
    yield Sample(rand(5, 7).double(), rand(5, 14).double(), -1)
    yield Sample(rand(5, 7).bfloat16(), rand(5, 14), -1)


@lower(aten.glu_backward.default, samples=glu_gradients, takes=FLOATS, when=[SameDtype(("grad_output", "self"))])
def glu_backward(tt, grad_output, self, dim):
    def gradient(grad, x):
        left, right = halves(tt, x, dim)
        gate = of_sigmoid(tt, right)
        of_left = tt.multiply(grad, gate)
        of_right = tt.multiply(tt.multiply(of_left, left), tt.rsub(gate, 1.0))
        return tt.concat([of_left, of_right], dim % len(x.shape))

    return in_float32(tt, gradient, grad_output, self)
