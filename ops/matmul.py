"""Matrix products."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, Dtype, Is, SameDtype
from ..registry import lower
from ..samples import Sample, rand

aten = torch.ops.aten


def mm_samples():
    yield Sample(rand(5, 7), rand(7, 3))
    yield Sample(rand(64, 96), rand(96, 33))
    yield Sample(rand(5, 7, dtype=torch.bfloat16), rand(7, 3, dtype=torch.bfloat16))
    yield Sample(rand(5, 7, dtype=torch.float64), rand(7, 3, dtype=torch.float64))


def bmm_samples():
    for sample in mm_samples():
        yield Sample(*(t.expand(2, *t.shape) for t in sample.args))


@lower(aten.mm.default, samples=mm_samples, when=[Dtype(("self", "mat2"), FLOATS)])
def mm(tt, self, mat2):
    return tt.matmul(self, mat2)


@lower(aten.bmm.default, samples=bmm_samples, when=[Dtype(("self", "mat2"), FLOATS)])
def bmm(tt, self, mat2):
    return tt.matmul(self, mat2)


def addmm_samples():
    yield Sample(rand(3), rand(5, 7), rand(7, 3))
    yield Sample(rand(5, 3), rand(5, 7), rand(7, 3), beta=0.5, alpha=2)
    yield Sample(rand(3, dtype=torch.bfloat16), rand(5, 7, dtype=torch.bfloat16), rand(7, 3, dtype=torch.bfloat16))
    yield Sample(rand(3).double(), rand(5, 7).double(), rand(7, 3).double())


@lower(aten.addmm.default, samples=addmm_samples, when=[Dtype(("self", "mat1", "mat2"), FLOATS)])
def addmm(tt, self, mat1, mat2, beta, alpha):
    product = tt.matmul(mat1, mat2)
    if alpha != 1:
        product = tt.multiply(product, alpha)
    return tt.add(product, self if beta == 1 else tt.multiply(self, beta))
