"""What a call may cost under float32="exact", and how it is refused where it would cost more."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..refusal import Refusal

# Of one op, so many ttnn calls: attention of long sequences takes some 130, and the host has its product sooner than
# this many more have been made.
MOST_CALLS = 256

# Of what stands in for one ttnn call, as it is held at once, in tiles.
MOST_BYTES = 2**31

TOO_MANY_CALLS = Refusal(
    f'at most {MOST_CALLS} ttnn calls under float32="exact"', "", "the host computes it as exactly, and sooner"
)
TOO_MANY_BYTES = Refusal(
    f'at most {MOST_BYTES >> 20} MiB held at once under float32="exact"', "", "the host computes it as exactly"
)
OTHER_BATCH = Refusal('products of one batch under float32="exact"', "", "ttnn repeats no matrix")


class TooDear(Exception):
    """A lowering would cost more than it may: the host runs the call, for the reason in `refusal`."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


def tiles(shape: Sequence[int]) -> int:
    """The elements that a value of this shape takes with those of its padding."""
    *lead, rows, columns = (1, 1, *shape)
    return prod(lead) * in_tiles(rows) * in_tiles(columns)


def in_tiles(size: int) -> int:
    """The size with its padding."""
    return -(-size // 32) * 32


def require_room(elements: int) -> None:
    """Raise TooDear if so many float32 elements, with their padding, are too many to hold."""
    if elements * 4 > MOST_BYTES:
        raise TooDear(TOO_MANY_BYTES.with_got(f"{elements * 4 >> 20} MiB"))
