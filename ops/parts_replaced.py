"""Copies of a tensor in which one part is another tensor: a slice, a place in one dimension, a diagonal."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, MOVABLE, Check, Is, SameDtype, SizeAtMost
from ..registry import cpu_only, lower
from ..samples import Sample, ints, rand
from .data_movement import CONCAT_ROW
from .vocabulary import as_shape, cut, moves_narrow

aten = torch.ops.aten


def slice_scatter_samples():
    for dtype in MOVABLE:
        yield Sample(ints(5, 7, high=2).to(dtype), ints(2, 7, high=2).to(dtype), 0, 1, 3)
    for dtype in FLOATS:
        yield Sample(rand(5, 40, dtype=dtype), rand(5, 33, dtype=dtype), -1, -33)
        yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype))
    yield Sample(rand(5, 7).double(), rand(2, 7).double(), 0, 1, 3)
    yield Sample(rand(5, 7), rand(2, 7, dtype=torch.bfloat16), 0, 1, 3)
    yield Sample(rand(5, 7), rand(2, 7), 0, 1, 5, 2)
    yield Sample(rand(2, CONCAT_ROW + 1), rand(1, CONCAT_ROW + 1), 0, 1)


WRITTEN_TO = [
    SameDtype(("self", "src")),
    SizeAtMost("self", -1, CONCAT_ROW, because="ttnn.concat keeps a row in L1"),
]


@lower(
    aten.slice_scatter.default,
    samples=slice_scatter_samples,
    takes=MOVABLE,
    when=[*WRITTEN_TO, Is("step", 1, because="the parts are concatenated")],
)
@moves_narrow
def slice_scatter(tt, self, src, dim, start, end):
    dim = dim % len(self.shape)
    size = self.shape[dim]
    start, stop, _ = slice(start, end).indices(size)
    parts = [cut(tt, self, dim, 0, start)] if start else []
    parts.append(src)
    if stop < size:
        parts.append(cut(tt, self, dim, stop, size))
    return src if len(parts) == 1 else tt.concat(parts, dim)


def select_scatter_samples():
    for dtype in MOVABLE:
        yield Sample(ints(5, 7, high=2).to(dtype), ints(7, high=2).to(dtype), 0, 2)
    for dtype in FLOATS:
        yield Sample(rand(2, 33, 40, dtype=dtype), rand(2, 40, dtype=dtype), -2, -1)
        yield Sample(rand(2, 3, dtype=dtype), rand(2, dtype=dtype), 1, 0)
    yield Sample(rand(5, 7).double(), rand(7).double(), 0, 2)
    yield Sample(rand(5, 7), rand(7, dtype=torch.bfloat16), 0, 2)
    yield Sample(rand(2, CONCAT_ROW + 1), rand(CONCAT_ROW + 1), 0, 1)
    yield Sample(rand(5, 7), rand(7), 0, 5)
    yield Sample(rand(5, 7), rand(1, 7), 0, 2)


def misfit(call):
    shape = list(call["self"].shape)
    del shape[call["dim"]]
    return None if list(call["src"].shape) == shape else str(call["src"])


def beyond(call):
    size = call["self"].shape[call["dim"]]
    return None if -size <= call["index"] < size else f"{call['index']} of {size}"


@lower(
    aten.select_scatter.default,
    samples=select_scatter_samples,
    takes=MOVABLE,
    when=[
        *WRITTEN_TO,
        Check("src in the shape of what it replaces", misfit, because="PyTorch takes no others"),
        Check("index within the dimension", beyond, because="PyTorch takes no others"),
    ],
)
@moves_narrow
def select_scatter(tt, self, src, dim, index):
    dim = dim % len(self.shape)
    shape = list(self.shape)
    index, shape[dim] = index % shape[dim], 1
    return slice_scatter(tt, self, as_shape(tt, src, shape), dim, index, index + 1)


cpu_only(
    aten.diagonal_scatter.default,
    because="ttnn has no write to a diagonal",
    samples=lambda: [Sample(rand(4, 4), rand(4))],
)
