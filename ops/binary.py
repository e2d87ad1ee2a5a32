"""Elementwise ops of two operands."""

from __future__ import annotations

import torch

from ..conditions import NUMBERS, Dtype
from ..registry import lower
from ..samples import Sample, rand

aten = torch.ops.aten


def add_samples():
    yield Sample(rand(2, 3), rand(2, 3))
    yield Sample(rand(2, 3), rand(3), alpha=2)
    yield Sample(rand(2, 3), 2.5)
    yield Sample(rand(2, 3, dtype=torch.bfloat16), rand(2, 3), alpha=2)
    yield Sample(rand(2, 3).double(), rand(2, 3))


@lower(aten.add.Tensor, samples=add_samples, promote=("self", "other"), when=[Dtype(("self", "other"), NUMBERS)])
def add(tt, self, other, alpha):
    return tt.add(self, other if alpha == 1 else tt.multiply(other, alpha))
