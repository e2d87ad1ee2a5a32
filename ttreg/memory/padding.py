"""What values take in tile layout, in which the last two dimensions are padded, and what is too much."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ..conditions import Refusal

TILE = 32
_ALIGNED = 32  # bytes of a row in row-major layout

# How many times its own size a value may take in tiles before another way is looked for.
WASTEFUL = 4

# Of the smallest board with a chip of each architecture, in bytes.
_DRAM = {"wormhole_b0": 12 * 10**9, "blackhole": 28 * 10**9}

# Which share of the DRAM one ttnn call may take: a lowering holds some such values at once, and the program others.
_SHARE, _WASTEFUL_SHARE = 0.75, 0.2

# Of the ttnn dtypes that carry these; see carry.py.
_ITEMSIZE = {torch.bool: 2, torch.int64: 4}

TOO_LARGE_IN_TILES = Refusal(
    "fits in the chip's DRAM", "", "rows and columns are padded to tiles of 32 × 32, and a call holds several tensors"
)


def tiled(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The bytes that a value of this shape takes in tile layout."""
    *lead, rows, columns = (1, 1, *shape)
    whole = (-(-rows // TILE) * TILE) * (-(-columns // TILE) * TILE)
    return prod(lead) * whole * _ITEMSIZE.get(dtype, dtype.itemsize)


def row_major(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The bytes that a value of this shape takes in row-major layout, where each row is aligned."""
    *lead, columns = (1, *shape)
    return prod(lead) * -(-columns * _ITEMSIZE.get(dtype, dtype.itemsize) // _ALIGNED) * _ALIGNED


def too_large(held: int, unpadded: int, arch: str) -> bool:
    """Whether a call whose tensors take so many bytes, and so many without padding, is not for a chip."""
    dram = _DRAM.get(arch, _DRAM["wormhole_b0"])
    return held > dram * (_WASTEFUL_SHARE if held > WASTEFUL * unpadded else _SHARE)


def refusal_of(what: Sequence[str], held: Sequence[int]) -> Refusal:
    """The refusal that names the tensor of a call which takes most, and how much that and the call take."""
    nbytes = max(held)
    took = f"{what[held.index(nbytes)]}, which padded to tiles takes {nbytes / 10**9:.1f} GB"
    return TOO_LARGE_IN_TILES.with_got(took if len(held) == 1 else f"{took} of the call's {sum(held) / 10**9:.1f} GB")
