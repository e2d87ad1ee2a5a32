"""Writes to places that indices name: on the host."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, ints, rand

aten = torch.ops.aten

ROW_MAJOR = "ttnn.scatter takes row-major float32 only, and its order of writes to one place is not PyTorch's"


def written():
    yield Sample(rand(5, 7), 0, ints(2, 7, high=5), rand(2, 7))


def filled():
    yield Sample(rand(5, 7), 0, ints(2, 7, high=5), 1.5)


def rows():
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2, 7))


cpu_only(aten.scatter.src, aten.scatter_add.default, because=ROW_MAJOR, samples=written)
