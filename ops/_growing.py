"""Tensors that grow row by row, in spare room that they are held with."""

from __future__ import annotations

import torch

from .vocabulary import cast, cut, from_sizes


@from_sizes
def rows_of_a_matrix(rows: int, columns: int, rank: int) -> torch.Tensor:
    """The number of its row, for each element of the last two dimensions."""
    numbers = torch.arange(rows, dtype=torch.float32).view(rows, 1).expand(rows, columns)
    return numbers.reshape([1] * (rank - 2) + [rows, columns])


@from_sizes
def in_a_row(columns: int, rank: int) -> torch.Tensor:
    """The number of its column, for each element of a row."""
    return torch.arange(columns, dtype=torch.float32).view([1] * (rank - 1) + [columns])


@from_sizes
def zeros_in_a_row(columns: int, rank: int) -> torch.Tensor:
    """As many zeros."""
    return torch.zeros([1] * (rank - 1) + [columns], dtype=torch.float32)


def appended(tt, room, tensors, dim):
    """Rows put behind those that a tensor has, in its room, which is made if it has none.

    ttnn's programs for this are the same for every row: the number of the row is no part of them.
    """
    grown, added = tensors
    length, size = room["tensors"].length, room["tensors"].size
    grown = padded(tt, grown, dim % len(grown.shape), size)
    for row in range(added.shape[-2]):
        one = cut(tt, added, len(added.shape) - 2, row, row + 1)
        grown = tt.where(is_row(tt, grown, size, length + row), one, grown)
    return grown


def padded(tt, x, dim, size):
    """The tensor with zeros behind it along a dimension."""
    if x.shape[dim] == size:
        return x
    widths = [(0, size - x.shape[dim] if d == dim else 0) for d in range(len(x.shape))]
    # In row-major layout, as in `constant_pad_nd`: so it was measured on a chip.
    return tt.to_layout(tt.pad(tt.to_layout(x, tt.ROW_MAJOR_LAYOUT), widths, 0.0), tt.TILE_LAYOUT)


def is_row(tt, beside, rows: int, row: int):
    """A mask of the last two dimensions of `beside`, which is true in one row."""
    columns, rank, dtype = beside.shape[-1], len(beside.shape), beside.dtype

    def made():
        return tt.eq(tt.constant(rows_of_a_matrix(rows, columns, rank)), float(row), dtype=dtype)

    return tt.lately((is_row, rows, columns, rank, dtype, row), made)


def unseen(tt, columns: int, seen: int, dtype, rank: int = 4):
    """A row to add to scores: -inf from column `seen` on, and 0 before."""

    def made():
        numbers = tt.constant(in_a_row(columns, rank))
        zeros = tt.constant(zeros_in_a_row(columns, rank))
        return cast(tt, tt.where(tt.lt(numbers, float(seen)), zeros, -torch.inf), dtype)

    return tt.lately((unseen, columns, seen, rank, dtype), made)
