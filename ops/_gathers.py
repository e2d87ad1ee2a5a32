"""Elements at places known from sizes alone, along one of the last two of three dimensions, moved as they are."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch

from ..exact.cost import tiles
from .vocabulary import ROW, as_shape, cut

# How many places are gathered by one call: of a wider row, ttnn.gather reads the whole for each tile of places.
MOST_AT_ONCE = 2**15

# Up to so many bytes of what is made of an index are kept for the next call with it.
MOST_KEPT = 2**22


class Piece(NamedTuple):
    """Places that are gathered by one call."""

    first: int  # of the elements that they lie among, at the border of a tile
    end: int
    within: torch.Tensor  # uint32, counted from the first


class Places(NamedTuple):
    """Places along a dimension."""

    start: int  # of a slice that takes the same elements
    step: int  # of that slice; 0 if there is none
    total: int
    pieces: tuple[Piece, ...]


def places_of(index: torch.Tensor, dim: int) -> Places:
    """The places along the last dimension (-1) or the one before it (-2)."""
    pieces, parts = [], index.split(MOST_AT_ONCE)
    for part in parts:
        first = int(part.min()) // 32 * 32 if len(parts) > 1 else 0
        part_index = (part - first).to(torch.uint32).view([1, 1, -1] if dim == -1 else [1, -1, 1])
        pieces.append(Piece(first, int(part.max()) + 1, part_index))
    return Places(*as_slice(index.tolist()), len(index), tuple(pieces))


def as_slice(index: list[int]) -> tuple[int, int]:
    """The start and the step of a slice that takes these elements; a step of 0 if there is none."""
    step = index[1] - index[0] if len(index) > 1 else 1
    same = step > 0 and index == list(range(index[0], index[-1] + 1, step))
    return index[0], step if same else 0


def read(tt: Any, x: Any, dim: int, places: Places) -> Any:
    """The elements of `x`, of three dimensions, at the places along the last (-1) or the one before it (-2)."""
    start, step, count, pieces = places
    if step == 1 or (step and x.shape[-1] <= ROW):
        return cut(tt, x, 3 + dim, start, start + (count - 1) * step + 1, step)
    if len(pieces) == 1:
        return gathered(tt, x, 3 + dim, tt.constant(pieces[0].within))
    dim += 3
    parts = [gathered(tt, cut(tt, x, dim, first, end), dim, tt.constant(index)) for first, end, index in pieces]
    return tt.concat(parts, dim)


def gathered(tt: Any, x: Any, dim: int, index: Any) -> Any:
    """The slices of `x` along a dimension that `index`, uint32, names."""
    shape = list(x.shape)
    shape[dim] = prod(index.shape)
    return tt.gather(x, dim, index=spread(tt, index, dim % len(shape), shape))


def spread(tt: Any, index: Any, dim: int, shape: list[int]) -> Any:
    """An index along a dimension of this shape, the same for all slices: ttnn.gather wants one for each element."""

    def make() -> list[Any]:
        row = as_shape(tt, index, [size if d == dim else 1 for d, size in enumerate(shape)])
        return [row if list(row.shape) == shape else tt.expand(row, tuple(shape))]

    nbytes = 4 * tiles(shape)
    return (tt.split(index, (dim, *shape), nbytes, make) if nbytes <= MOST_KEPT else make())[0]
