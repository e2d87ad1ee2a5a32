"""Writes to the places that indices name: on the host."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, bools, ints, rand

aten = torch.ops.aten

WHICH_STAYS = "ttnn.scatter does not say which value stays where an index repeats; on the CPU it is the last"
HOW_SUMMED = "how ttnn.scatter_add rounds a sum where an index repeats is not documented"
WHOLE_TENSORS = "ttnn writes whole tensors, and the indices may be masks"


def scattered(*more):
    return lambda: [Sample(rand(5, 7), 0, ints(2, 7, high=5), rand(2, 7), *more)]


def filled(*more):
    return lambda: [Sample(rand(5, 7), 0, ints(2, 7, high=5), 1.5, *more)]


def put():
    yield Sample(rand(5, 7), [ints(3, high=5)], rand(3, 7))
    yield Sample(rand(5, 7), [bools(5, 7)], rand())


def rows():
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2, 7))


cpu_only(aten.scatter.src, because=WHICH_STAYS, samples=scattered())
cpu_only(aten.scatter.value, because=WHICH_STAYS, samples=filled())
cpu_only(aten.index_copy.default, because=WHICH_STAYS, samples=rows)
cpu_only(aten.scatter_add.default, because=HOW_SUMMED, samples=scattered())
cpu_only(aten.scatter_reduce.two, because=HOW_SUMMED, samples=scattered("sum"))
cpu_only(aten.index_add.default, because=HOW_SUMMED, samples=rows)
cpu_only(aten.index_put.default, because=WHOLE_TENSORS, samples=put)
cpu_only(
    aten.masked_scatter.default,
    because="which value goes where depends on the mask's values",
    samples=lambda: [Sample(rand(5, 7), bools(5, 7), rand(35))],
)
