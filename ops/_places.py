"""Reductions of the elements that go to each place, or lie in each segment."""

from __future__ import annotations

from math import prod

import torch

from .vocabulary import as_shape, from_sizes, product_along, reduce, widen

# Every element is compared with every place, and what goes there is held for all places at once.
MOST_PAIRS = 2**20

# What no element comes to.
OF_NOTHING = {"sum": 0.0, "prod": 1.0, "amax": -torch.inf, "amin": torch.inf}


@from_sizes
def column(size: int) -> torch.Tensor:
    """Consecutive numbers from 0, one in each row."""
    return torch.arange(size, dtype=torch.float32).view(1, 1, size, 1)


@from_sizes
def row(size: int) -> torch.Tensor:
    """Consecutive numbers from 0 in one row."""
    return torch.arange(size, dtype=torch.float32).view(1, 1, 1, size)


def at_places(tt, places, rows, size):
    """Ones where an element goes to a place, of shape (rows, 1, size, elements); of the number of each's, by row."""
    return tt.eq(as_shape(tt, places, [rows, 1, 1, prod(places.shape) // rows]), tt.constant(column(size)))


def between(tt, offsets, rows, elements):
    """Ones where an element lies in a segment, of shape (rows, 1, segments, elements); of the offsets, by row."""
    count = prod(offsets.shape) // rows
    offsets = as_shape(tt, offsets, [rows, 1, count, 1])
    starts, ends = (tt.slice(offsets, [0, 0, i, 0], [rows, 1, count - 1 + i, 1]) for i in range(2))
    places = tt.constant(row(elements))
    return tt.multiply(tt.ge(places, starts), tt.lt(places, ends))


def reduced(tt, values, here, how):
    """What the elements at each place come to, and how many they are, both in float32.

    `values` has the shape (rows, columns, elements), `here` is (rows, 1, places, elements); what comes back has the
    shapes (rows, columns, places) and (rows, 1, places). `how` is a key of `OF_NOTHING`.
    """
    rows, columns, elements = values.shape
    shape = (rows, columns, here.shape[2], elements)
    spread = tt.expand(as_shape(tt, widen(tt, values), [rows, columns, 1, elements]), shape)
    chosen = tt.where(tt.expand(here, shape), spread, OF_NOTHING[how])
    if how == "prod":
        total = as_shape(tt, product_along(tt, chosen, 3), shape[:3])
    else:
        total = reduce(tt, {"sum": "sum", "amax": "max", "amin": "min"}[how], chosen, -1)
    return total, reduce(tt, "sum", widen(tt, here), -1)
