"""Writes of whole slices to the places that indices name."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Rank, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Index, Spec
from .embedding import indexed_size, rows_among
from .select import where_number
from .vocabulary import COUNTABLE, as_shape, at_most, cast, from_sizes, moved_first, permuted, permuted_back, reduce

aten = torch.ops.aten


def copied():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), 0, torch.tensor([3, 0]), rand(2, 7, dtype=dtype))
        yield Sample(rand(2, 4, 33, 8, dtype=dtype), 2, torch.tensor([32]), rand(2, 4, 1, 8, dtype=dtype))
        yield Sample(rand(2, 3, 5, dtype=dtype), -1, torch.tensor([4, 1, 4, 1]), rand(2, 3, 4, dtype=dtype))
        yield Sample(rand(40, dtype=dtype), 0, ints(high=40), rand(1, dtype=dtype))
    yield Sample(rand(5), 0, torch.arange(3), torch.tensor([float("nan"), float("inf"), -0.0]))
    yield Sample(rand(), 0, ints(1, high=1), rand(1))
    yield Sample(rand(40), 0, ints(1, high=40), rand())
    yield Sample(rand(5, 7).double(), 0, ints(2, high=5), rand(2, 7).double())
    yield Sample(rand(5, 7), 0, ints(2, high=5), rand(2, 7, dtype=torch.bfloat16))
    yield Sample(rand(5, 7), 0, ints(2, high=5, dtype=torch.int32), rand(2, 7))
    yield Sample(rand(1).expand(COUNTABLE + 1), 0, ints(1), rand(1))


INDEXED: dict[str, Spec | tuple[torch.dtype, ...]] = {
    "self": FLOATS,
    "index": Index((torch.int64,), below=indexed_size, as_numbers=True),
}
IN_A_COLUMN = [
    Rank("self", range(1, 7)),
    at_most(
        COUNTABLE,
        "the indexed dimension has at most {} elements",
        indexed_size,
        because="they are counted in float32",
    ),
]


@lower(
    aten.index_copy.default,
    samples=copied,
    takes=INDEXED | {"source": FLOATS},
    when=[SameDtype(("self", "source")), *IN_A_COLUMN, Rank("source", range(1, 7))],
)
def index_copy(tt, self, dim, index, source):
    rank = len(self.shape)
    dim %= rank
    size, count = self.shape[dim], source.shape[dim]
    # For each place, which of the slices goes there, counted from 1: the last one, as on the CPU; 0 if none does.
    is_there = named_by(tt, index, count, size)
    last = reduce(tt, "max", tt.multiply(is_there, tt.constant(numbers(1, count + 1, 1))), -1, keepdim=True)
    order = moved_first([dim], rank)
    slices = permuted(tt, source, order)
    table = as_shape(tt, slices, [count, prod(source.shape) // count])
    index = tt.typecast(tt.clamp(tt.subtract(last, 1.0), min=0.0), tt.uint32)
    found = permuted_back(tt, rows_among(tt, table, index, [size, *list(slices.shape)[1:]]), order)
    return tt.where(column(tt, tt.gtz(last), dim, rank), found, self)


def named_by(tt, index, count, size):
    """For each place of a dimension, and each of the indices, 1 if the index names the place."""
    return tt.eq(as_shape(tt, index, [1, count]), tt.constant(numbers(0, size, size)))


def column(tt, truths, dim, rank):
    """Truths of the places of one dimension, as a mask beside a tensor of that rank."""
    size = truths.shape[0]
    return as_shape(tt, tt.typecast(truths, tt.bfloat16), [size if d == dim else 1 for d in range(rank)])


def filled_slices(*values):
    def samples():
        for value in values:
            for dtype in FLOATS:
                yield Sample(rand(5, 7, dtype=dtype), 0, torch.tensor([3, 0, 3]), value)
            yield Sample(rand(2, 3, 5), -1, ints(high=5), value)
        yield Sample(rand(), 0, ints(1, high=1), values[0])
        yield Sample(rand(5, 7).double(), 0, ints(2, high=5), values[0])
        yield Sample(rand(5, 7), 0, ints(2, high=5, dtype=torch.int32), values[0])
        yield Sample(rand(1).expand(COUNTABLE + 1), 0, ints(1), values[0])

    return samples


def filled_places(tt, self, dim, index):
    dim %= len(self.shape)
    is_there = named_by(tt, index, prod(index.shape), self.shape[dim])
    return column(tt, reduce(tt, "max", is_there, -1, keepdim=True), dim, len(self.shape))


@lower(aten.index_fill.int_Scalar, samples=filled_slices(2.5, -float("inf")), takes=INDEXED, when=IN_A_COLUMN)
def index_fill_number(tt, self, dim, index, value):
    return where_number(tt, filled_places(tt, self, dim, index), value, self)


@lower(
    aten.index_fill.int_Tensor,
    samples=filled_slices(torch.tensor(2.5, dtype=torch.float32)),
    takes=INDEXED | {"value": FLOATS},
    when=IN_A_COLUMN,
)
def index_fill_tensor(tt, self, dim, index, value):
    return tt.where(filled_places(tt, self, dim, index), cast(tt, value, self.dtype), self)


@from_sizes
def numbers(start: int, stop: int, rows: int) -> torch.Tensor:
    """Consecutive numbers in a matrix with so many rows."""
    return torch.arange(start, stop, dtype=torch.float32).view(rows, -1)
