"""The bytes of values in tile layout, which pads the last two dimensions, and how many are too many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch

from ..conditions import Refusal
from ..meta import Meta

TILE = 32
_ALIGNED = 32  # bytes of a row in row-major layout

# A value that takes more than this many times its own size in tiles is worth making in another way.
WASTEFUL = 4

# And of such a value, more bytes than this are too many for the host, too, where a mocked chip keeps them.
_MUCH = 2**28

# DRAM of the smallest board of each architecture, in bytes.
_DRAM = {"wormhole_b0": 12 * 10**9, "blackhole": 28 * 10**9}

# The share of the DRAM that one ttnn call may take. The rest is for other values of the lowering and of the program.
_SHARE, _WASTEFUL_SHARE = 0.75, 0.2

# Bytes per element of the ttnn dtypes that carry these; see carriers.py.
_ITEMSIZE = {torch.bool: 2, torch.int64: 4}

TOO_LARGE_IN_TILES = Refusal(
    "fits in the chip's DRAM", "", "rows and columns are padded to tiles of 32 × 32, and a call holds several tensors"
)


def tiled(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The bytes that a value of this shape takes in tile layout."""
    *lead, rows, columns = (1, 1, *shape)
    whole = (-(-rows // TILE) * TILE) * (-(-columns // TILE) * TILE)
    return prod(lead) * whole * _ITEMSIZE.get(dtype, dtype.itemsize)


@lru_cache(maxsize=1 << 14)
def held_by(meta: Meta) -> int:
    """The bytes that a tensor's value takes in tile layout."""
    return tiled(meta.shape, meta.dtype)


def mostly_padding(meta: Meta) -> bool:
    """Whether a tensor's value takes much room in tiles, of which the tensor itself fills a small part."""
    held = held_by(meta)
    return held > _MUCH and held > WASTEFUL * meta.numel * _ITEMSIZE.get(meta.dtype, meta.dtype.itemsize)


def row_major(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The bytes that a value of this shape takes in row-major layout, where each row is aligned."""
    *lead, columns = (1, *shape)
    return prod(lead) * -(-columns * _ITEMSIZE.get(dtype, dtype.itemsize) // _ALIGNED) * _ALIGNED


def too_large(held: int, unpadded: int, arch: str) -> bool:
    """Whether a call is too large for a chip: its tensors take `held` bytes, and `unpadded` without padding."""
    dram = _DRAM.get(arch, _DRAM["wormhole_b0"])
    return held > dram * (_WASTEFUL_SHARE if held > WASTEFUL * unpadded else _SHARE)


def refusal_of(what: Sequence[str], held: Sequence[int]) -> Refusal:
    """The refusal, which names the call's largest tensor, the bytes of that and the bytes of the whole call."""
    nbytes = max(held)
    took = f"{what[held.index(nbytes)]}, which padded to tiles takes {nbytes / 10**9:.1f} GB"
    return TOO_LARGE_IN_TILES.with_got(took if len(held) == 1 else f"{took} of the call's {sum(held) / 10**9:.1f} GB")
