"""The parts of dropout and batch normalization in training, as AOTAutograd and autograd call them."""

from __future__ import annotations

import torch

from ..registry import decomposed
from ..samples import Sample, bools, rand

aten = torch.ops.aten


def dropped():
    yield Sample(rand(4, 5), bools(4, 5), 2.0)


def normalized():
    yield Sample(rand(2, 3, 4, 5), rand(3), rand(3), rand(3), rand(3, low=0.1), True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), rand(3), rand(3), rand(3), rand(3, low=0.1), False, 0.1, 1e-5)


def normalized_backward():
    statistics = [rand(3), rand(3, low=0.1), rand(3), rand(3, low=0.1)]
    yield Sample(rand(2, 3, 4, 5), rand(2, 3, 4, 5), rand(3), *statistics, True, 1e-5, [True, True, True])
    yield Sample(rand(2, 3, 4, 5), rand(2, 3, 4, 5), None, *statistics, False, 1e-5, [True, False, False])


decomposed(aten.native_dropout_backward.default, because="a product of three", samples=dropped)
decomposed(
    aten._native_batch_norm_legit_functional.default,
    because="the mean, the variance and what is made of them",
    samples=normalized,
)
decomposed(
    aten.native_batch_norm_backward.default,
    because="sums and products of the gradient and the input",
    samples=normalized_backward,
)
