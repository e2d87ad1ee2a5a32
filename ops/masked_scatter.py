"""The true places of a mask, filled with the elements of another tensor in their order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from ..call import Call, describe
from ..conditions import BOOL, FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, bools, rand
from ..specs import Index
from .embedding import NAN_IN_PARTS, rows_among
from .vocabulary import as_shape, at_most, shape_of

aten = torch.ops.aten

# Rows that are looked up in one table; each is padded to a tile's width.
MOST_ROWS = 2**19


def whole_dims(call: Call) -> int:
    """Of how many of the last dimensions the mask takes all or nothing, as its sizes and strides show."""
    mask, rank = call["mask"], call["self"].ndim
    for count in range(rank):
        if count < mask.ndim and mask.shape[-count - 1] != 1 and mask.stride[-count - 1] != 0:
            return count
    return rank


def width(call: Call) -> int:
    """How many elements are replaced together."""
    shape = call["self"].shape
    return prod(shape[len(shape) - whole_dims(call) :])


def source_rows(call: Call) -> int:
    return call["source"].numel // width(call)


def rows(call: Call) -> int:
    return call["self"].numel // width(call) + source_rows(call)


@dataclass(frozen=True)
class _Replaced(Index):
    """A mask. For each row of elements that are replaced together arrives its place among the source's rows and the
    tensor's own, which come behind them.

    If the source has too few rows, the host runs the call, and raises what PyTorch raises.
    """

    def bound(self, call: Call) -> Any:
        whole, shape = whole_dims(call), call["self"].shape
        return shape, whole, self.below(call)

    def ready(self, index: torch.Tensor, bound: Any) -> torch.Tensor | None:
        shape, whole, count = bound
        one_of_each = index.expand(shape)
        for _ in range(whole):
            one_of_each = one_of_each.select(-1, 0)
        one_of_each = one_of_each.reshape(-1)
        place = one_of_each.cumsum(0) - 1
        if int(place[-1]) >= count:
            return None
        own = torch.arange(count, count + len(place), dtype=torch.int64, device=index.device)
        return torch.where(one_of_each, place, own)

    def says(self) -> str:
        return "as the place of each row among the source's rows and its own"


def unlike_self(call: Call) -> str | None:
    self, mask = call["self"].shape, call["mask"].shape
    fits = len(mask) <= len(self) and all(m in (1, s) for m, s in zip(reversed(mask), reversed(self), strict=False))
    return None if fits else describe(list(mask))


def part_of_row(call: Call) -> str | None:
    return describe(list(call["source"].shape)) if call["source"].numel % width(call) else None


def masked():
    for dtype in FLOATS:
        mask = torch.tensor([[False, True, True, False], [True, False, False, True]])
        yield Sample(rand(2, 4, 40, dtype=dtype), mask[..., None].expand(2, 4, 40), rand(4, 40, dtype=dtype))
        yield Sample(rand(2, 4, 7, dtype=dtype), mask[..., None], rand(33, 7, dtype=dtype))
        yield Sample(rand(5, 7, dtype=dtype), bools(5, 7), rand(35, dtype=dtype))
        yield Sample(rand(3, 5, 7, dtype=dtype), bools(5, 7), rand(3, 40, dtype=dtype))
        yield Sample(rand(5, 7, dtype=dtype), torch.zeros(1, 1, dtype=torch.bool), rand(35, dtype=dtype))
    yield Sample(rand(4), torch.tensor([True, False, True, True]), torch.tensor([torch.nan, torch.inf, -0.0, 1.0]))
    yield Sample(rand(), torch.tensor(True), rand(2))
    yield Sample(rand(5, 7).double(), bools(5, 7), rand(35).double())
    yield Sample(rand(5, 7), bools(5, 7).to(torch.uint8), rand(35))
    yield Sample(rand(5, 7), bools(5, 7), rand(35, dtype=torch.bfloat16))
    yield Sample(rand(7), bools(5, 7), rand(35))
    yield Sample(rand(5, 7), bools(5, 1), rand(36))
    yield Sample(rand(1).expand(MOST_ROWS), bools(1).expand(MOST_ROWS).clone(), rand(1))


@lower(
    aten.masked_scatter.default,
    samples=masked,
    takes={"self": FLOATS, "mask": _Replaced(BOOL, below=source_rows), "source": FLOATS},
    when=[
        SameDtype(("self", "source")),
        Check("the mask lies within self", unlike_self, because="else the result has another shape than self"),
        Check(
            "source has whole rows of what the mask takes or leaves together",
            part_of_row,
            because="they are looked up as rows",
        ),
        at_most(
            MOST_ROWS,
            "at most {} rows that the mask takes or leaves together, with those of source",
            rows,
            because="they are the rows of one table, which are padded to tiles",
        ),
    ],
    chip=NAN_IN_PARTS,
)
def masked_scatter(tt, self, mask, source):
    (count,), size = shape_of(mask), prod(self.shape)
    table = tt.concat([as_shape(tt, x, [prod(x.shape) * count // size, size // count]) for x in (source, self)], 0)
    return rows_among(tt, table, mask, shape_of(self))
