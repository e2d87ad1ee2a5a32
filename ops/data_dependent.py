"""Ops whose output shape, or whose meaning, depends on values: the host has to look at them."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, bools, ints, rand

aten = torch.ops.aten


def one_matrix():
    yield Sample(rand(4, 5))


def masked():
    yield Sample(rand(4, 5), bools(4, 5))


def uniques():
    yield Sample(ints(12), True, True, True)


def unique_rows():
    yield Sample(ints(6, 2, high=2), 0)


def repeats():
    yield Sample(ints(5))


def one_value():
    yield Sample(rand(1))


def two_matrices():
    yield Sample(rand(4, 5), rand(4, 5))


def bins():
    yield Sample(ints(8))


cpu_only(
    aten.nonzero.default,
    because="the output has a row for each element that is not zero",
    samples=one_matrix,
)
cpu_only(
    aten.masked_select.default,
    because="the output has an element for each place where the mask is true",
    samples=masked,
)
cpu_only(aten._unique2.default, because="the output has an element for each distinct value", samples=uniques)
cpu_only(
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    because="the output has a slice for each distinct one",
    samples=unique_rows,
)
cpu_only(
    aten.repeat_interleave.Tensor,
    because="the output is as long as the repeats add up to",
    samples=repeats,
)
cpu_only(aten.bincount.default, because="the output is as long as the largest value", samples=bins)
cpu_only(aten._local_scalar_dense.default, because="the program asks for the value", samples=one_value)
cpu_only(aten.equal.default, because="the program asks for the answer", samples=two_matrices)
cpu_only(
    aten._assert_scalar.default,
    because="the program asks whether it holds",
    samples=lambda: [Sample(True, "it holds")],
)
