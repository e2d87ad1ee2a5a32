"""What values take in tile layout: the last two dimensions are padded to multiples of 32."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

TILE = 32

# How many times its own size a value may take in tiles before another way is looked for.
WASTEFUL = 4

# Of the ttnn dtypes that carry these; see carry.py.
_ITEMSIZE = {torch.bool: 2, torch.int64: 4}


def tiled(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The bytes that a value of this shape takes in tile layout."""
    *lead, rows, columns = (1, 1, *shape)
    whole = (-(-rows // TILE) * TILE) * (-(-columns // TILE) * TILE)
    return prod(lead) * whole * _ITEMSIZE.get(dtype, dtype.itemsize)
