"""The limits on what a call may cost under float32="exact", and the refusal of calls that would cost more."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..refusal import Refusal

# The most ttnn calls for one op. Attention over long sequences takes some 130. Beyond this limit the host computes the
# product sooner.
MOST_CALLS = 256

# The most memory that the replacement of one ttnn call may hold at once, in tiles.
MOST_BYTES = 2**31

TOO_MANY_CALLS = Refusal(
    f'at most {MOST_CALLS} ttnn calls under float32="exact"', "", "the host computes it as exactly, and sooner"
)
TOO_MANY_BYTES = Refusal(
    f'at most {MOST_BYTES >> 20} MiB held at once under float32="exact"', "", "the host computes it as exactly"
)
OTHER_BATCH = Refusal('products of one batch under float32="exact"', "", "ttnn repeats no matrix")


class TooDear(Exception):
    """A lowering raises this if it would cost more than the limit. The host runs the call; `refusal` is the reason."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


def tiles(shape: Sequence[int]) -> int:
    """How many elements a value of this shape has, with its padding."""
    *lead, rows, columns = (1, 1, *shape)
    return prod(lead) * in_tiles(rows) * in_tiles(columns)


def in_tiles(size: int) -> int:
    """The size with its padding."""
    return -(-size // 32) * 32


def require_room(elements: int) -> None:
    """Raise TooDear if this many float32 elements, padding included, do not fit."""
    if elements * 4 > MOST_BYTES:
        raise TooDear(TOO_MANY_BYTES.with_got(f"{elements * 4 >> 20} MiB"))
