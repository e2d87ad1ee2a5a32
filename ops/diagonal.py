"""Matrices with given diagonals."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, MOVABLE, Rank, SizeAtMost
from ..registry import lower
from ..samples import Sample, ints, rand
from .pad import constant_pad_nd
from .vocabulary import as_shape, from_sizes, moved_last, moves_narrow, permuted_back, torch_dtype

aten = torch.ops.aten

LONGEST = 2048


@from_sizes
def diagonal_of(size: int, offset: int, dtype: torch.dtype) -> torch.Tensor:
    """Ones on a diagonal of a square matrix."""
    return torch.diag(torch.ones(size - abs(offset), dtype=dtype), offset)


def diagonal_samples():
    for dtype in (torch.int32, torch.uint8, torch.bool):
        yield Sample(ints(3, 5, high=2).to(dtype), 1)
    for dtype in FLOATS:
        yield Sample(rand(5, dtype=dtype))
        yield Sample(rand(2, 33, dtype=dtype), 2)
        yield Sample(rand(2, 40, dtype=dtype), -3, 0, 2)
        yield Sample(rand(2, 3, 7, dtype=dtype), 1, -1, 0)
        yield Sample(rand(2, 3, 2, 5, dtype=dtype), 0, 1, -1)
    yield Sample(torch.tensor([torch.nan, torch.inf, 1.0]), -1)
    yield Sample(rand(5).double())
    yield Sample(rand(1, 2, 1, 2, 1, 2))
    yield Sample(rand(LONGEST + 1))


@lower(
    aten.diag_embed.default,
    samples=diagonal_samples,
    takes=MOVABLE,
    when=[
        Rank("self", range(1, 6), because="the matrix takes another dimension"),
        SizeAtMost("self", -1, LONGEST, because="a mask of the whole matrix is kept"),
    ],
)
@moves_narrow
def diag_embed(tt, self, offset, dim1, dim2):
    *lead, length = self.shape
    size, rank = length + abs(offset), len(self.shape) + 1
    padded = constant_pad_nd(tt, self, [0, abs(offset)], 0)
    # The i-th element is in the i-th row, or, of a diagonal below the main one, in the i-th column.
    spread = as_shape(tt, padded, [*lead, size, 1] if offset >= 0 else [*lead, 1, size])
    matrix = tt.where(tt.constant(diagonal_of(size, offset, torch_dtype(tt, self))), spread, 0)
    return permuted_back(tt, matrix, moved_last([dim1, dim2], rank))
