"""Ops that look up rows by index: embedding, index_select, gather, flip."""

from __future__ import annotations

from math import prod

import torch

from ..apart import Leading
from ..conditions import BOOL, FLOATS, INDICES, MOVABLE, Check, Rank
from ..on_demand import on_device
from ..registry import lower
from ..room import InRoom
from ..samples import Sample, bools, ints, rand
from ..specs import Index, Row, Tensor
from ._gathers import Places, gathered, places_of, read
from .vocabulary import (
    ROW,
    around,
    as_shape,
    from_sizes,
    moved_first,
    moves_narrow,
    permuted,
    permuted_back,
    shape_of,
)

aten = torch.ops.aten

INF = float("inf")
LOOKED_UP = (*FLOATS, *BOOL)
LARGEST, LARGEST_BFLOAT16 = (torch.finfo(dtype).max for dtype in (torch.float32, torch.bfloat16))
NAN_IN_PARTS = (
    "NaN becomes an infinity where rows are looked up as parts in bfloat16, as of many indices and of many rows"
)
TABLES = "ttnn looks up rows of bfloat16; float32 ones can be split into such, int32 ones cannot"


# Up to so many rows are looked up as they are held. The kernel that does so reads all indices for each row.
FEW_INDICES = 1024


def looked_up(tt, table, index, shape):
    """Rows of a matrix in this shape, exactly. `index` is one row in row-major layout, int32 or uint32."""
    if index.dtype == tt.int32:
        # The rows of a batch of one are looked up with that dimension, which then needs no call of its own.
        before = [1] * (len(shape) == 3 and shape[0] == 1)
        rows = tt.prepared(table, ("rows", *before), lambda: held(tt, on_device(table), before))
        found = tt.moreh_getitem(rows, [index], [len(before)])
        found = tt.to_layout(as_shape(tt, found, shape), tt.TILE_LAYOUT)
        return found if found.dtype == table.dtype else tt.bitcast(found, table.dtype)

    # Row-major on both sides: with indices in tiles, and with rows that ttnn tilizes as it looks them up, some widths
    # come out wrong (tt-metal issues 53435 and 44500).
    def look_up(part):
        rows = tt.embedding(index, part, layout=tt.ROW_MAJOR_LAYOUT)
        return tt.to_layout(as_shape(tt, rows, shape), tt.TILE_LAYOUT, table.dtype)

    found = [
        look_up(part) for part in tt.prepared(table, "bfloat16 parts", lambda: bfloat16_parts(tt, on_device(table)))
    ]
    # Taken away rather than added, what a zero leaves does not change its sign.
    return found[0] if len(found) == 1 else tt.subtract(found[0], tt.add(*found[1:]))


def rows_of(tt, table, index, shape):
    """Rows of a matrix in this shape, exactly: `table[index.flatten()]`. `index` is uint32."""

    def row():
        return tt.to_layout(as_shape(tt, index, [1, prod(index.shape)]), tt.ROW_MAJOR_LAYOUT)

    return looked_up(tt, table, tt.prepared(index, "row", row), shape)


def held(tt, table, before):
    """The table in row-major layout, float32 as the int32 of the same bits: ttnn looks up no rows of float32.

    `before` are dimensions of 1 in front.
    """
    bits = tt.bitcast(table, tt.int32) if table.dtype == tt.float32 else table
    return as_shape(tt, tt.to_layout(bits, tt.ROW_MAJOR_LAYOUT), [*before, *table.shape])


# Up to so many rows ttnn.gather finds one of float32 sooner than three lookups in bfloat16 do; it reads all of them for
# each tile of indices.
FEW_ROWS = 4096
# So many places of any number it finds sooner than all rows are moved in front and split into parts.
FEW_PLACES = 256


def rows_among(tt, table, index, shape):
    """The same as `rows_of`, in fewer calls where the matrix has few rows."""
    size, width = table.shape
    if table.dtype != tt.float32 or (size > FEW_ROWS and prod(index.shape) > FEW_PLACES):
        return rows_of(tt, table, index, shape)
    if width == 1:
        return as_shape(tt, along(tt, as_shape(tt, table, [1, size, 1]), index), shape)
    return as_shape(tt, gathered(tt, table, 0, index), shape)


def along(tt, x, index):
    """Slices along the second of three dimensions."""
    before, size, after = x.shape
    if after == 1:
        return as_shape(tt, gathered(tt, as_shape(tt, x, [before, size]), 1, index), [before, prod(index.shape), 1])
    return gathered(tt, x, 1, index)


def bfloat16_parts(tt, table):
    """Row-major bfloat16 tables: `table`, or three whose first less the others is `table`.

    The 24 bits of a float32's significand are those of three. What is not finite is all in the first.
    """
    parts = [table]
    if table.dtype == tt.float32:
        # What is above bfloat16's largest number, as the least float32 of many masks, must not round to infinity.
        within, finite = tt.clamp(table, -LARGEST_BFLOAT16, LARGEST_BFLOAT16), tt.isfinite(table)
        high = tt.typecast(tt.where(finite, within, table), tt.bfloat16)
        excess = tt.where(finite, tt.subtract(tt.typecast(high, tt.float32), table), 0.0)
        middle = tt.typecast(excess, tt.bfloat16)
        parts = [high, middle, tt.typecast(tt.subtract(excess, tt.typecast(middle, tt.float32)), tt.bfloat16)]
    return [tt.to_layout(part, tt.ROW_MAJOR_LAYOUT) for part in parts]


def embedding_samples():
    for dtype in FLOATS:
        yield Sample(rand(10, 7, dtype=dtype), ints(5))
        yield Sample(rand(10, 7, dtype=dtype), ints(2, 3))
        yield Sample(rand(33, 40, dtype=dtype), ints(2, 3, 4, high=33))
        yield Sample(rand(10, 64, dtype=dtype), ints())
        yield Sample(rand(10, 7, dtype=dtype), ints(4, dtype=torch.int32))
        yield Sample(rand(10, 7, dtype=dtype), ints(40), 3, True, False)
        yield Sample(rand(10, 7, dtype=dtype), ints(2, FEW_INDICES))
    for count in (4, FEW_INDICES + 1):
        special = torch.tensor([[INF, float("nan"), -INF], [1 / 3, 3.3e38, 1e-30]])
        yield Sample(special, ints(count, high=2))
        yield Sample(torch.tensor([[LARGEST, -LARGEST], [3.3955e38, -3.397e38]]), ints(count, high=2))
    yield Sample(rand(10, 7).double(), ints(5))
    yield Sample(rand(10, 7), ints(5, dtype=torch.int16))


def few(call):
    """Whether a float32 table's rows are looked up as they are held."""
    table = call["weight"]
    return table.dtype is torch.float32 and table.shape[1] <= ROW and call["indices"].numel <= FEW_INDICES


@lower(
    aten.embedding.default,
    samples=embedding_samples,
    takes={
        "weight": Tensor(FLOATS, because=TABLES, on_demand=True),
        "indices": Row(INDICES, below=lambda call: call["weight"].shape[0], signed=few),
    },
    chip=NAN_IN_PARTS,
    apart=Leading("indices", 0),
)
def embedding(tt, weight, indices, padding_idx, scale_grad_by_freq, sparse, out):
    # The last three shape the gradient only: a padding row is looked up like any other.
    return looked_up(tt, weight, indices, out.shape)


def index_select_samples():
    for dtype in FLOATS:
        yield Sample(rand(10, 7, dtype=dtype), 0, ints(5))
        yield Sample(rand(10, 7, dtype=dtype), 1, ints(40, high=7))
        yield Sample(rand(3, 33, 5, dtype=dtype), -2, ints(4, high=33, dtype=torch.int32))
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), 3, ints(9, high=7))
        yield Sample(rand(10, dtype=dtype), 0, ints())
        for count in (5, FEW_PLACES + 1):
            yield Sample(rand(2, FEW_ROWS + 1, dtype=dtype), 1, ints(count, high=FEW_ROWS + 1))
    yield Sample(rand(), 0, ints(1, high=1))
    yield Sample(bools(10, 7), 0, ints(5))
    yield Sample(ints(10, 7, dtype=torch.int32), 0, ints(5))
    yield Sample(rand(10, 7), 0, ints(5, dtype=torch.int16))
    yield Sample(rand(10, 7), 0, ints(1, 2))
    yield Sample(rand(), 0, ints(2, high=1))


def several_of_one(call):
    return None if call["self"].ndim or call["index"].numel == 1 else str(call["index"])


def indexed_size(call):
    """The size of the dimension that is indexed; a tensor without dimensions counts as one of size 1."""
    return call["self"].shape[call["dim"]] if call["self"].ndim else 1


def index_select_in_room(tt, room, self, dim, index):
    return None if room["self"].dim == dim % len(self.shape) else index_select(tt, self, dim, index)


@lower(
    aten.index_select.default,
    samples=index_select_samples,
    in_room=InRoom(index_select_in_room),
    takes={"self": Tensor(LOOKED_UP, because=TABLES), "index": Index(INDICES, below=indexed_size)},
    chip=NAN_IN_PARTS,
    when=[
        Rank("index", (0, 1), because="PyTorch takes no others"),
        Check("one index into a number", several_of_one, because="PyTorch takes no others"),
    ],
)
def index_select(tt, self, dim, index):
    rank = len(self.shape)
    if rank == 0:
        return self
    dim, shape, count = dim % rank, shape_of(self), prod(index.shape)
    before, size, after = around(shape, dim)
    shape[dim] = count
    if before == 1:
        return rows_among(tt, as_shape(tt, self, [size, after]), index, shape)
    if size <= FEW_ROWS or count <= FEW_PLACES:
        return as_shape(tt, along(tt, as_shape(tt, self, [before, size, after]), index), shape)
    order = moved_first([dim], rank)
    table = as_shape(tt, permuted(tt, self, order), [size, before * after])
    found = rows_of(tt, table, index, [shape[d] for d in order])
    return permuted_back(tt, found, order)


def gather_samples():
    for dtype in (*FLOATS, torch.int32, torch.uint8, torch.bool):
        yield Sample(ints(5, 7, high=2).to(dtype), 1, ints(5, 3, high=7))
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), 0, ints(40, 6, high=5), sparse_grad=True)
        yield Sample(rand(2, 33, 40, dtype=dtype), -2, ints(1, 3, 40, high=33, dtype=torch.int32))
        yield Sample(rand(9, dtype=dtype), 0, ints(3, high=9))
        yield Sample(rand(dtype=dtype), 0, ints(high=1))
    yield Sample(rand(5, 7).double(), 1, ints(5, 3, high=7))
    yield Sample(rand(5, 7), 1, ints(5, 3, high=7, dtype=torch.int16))


@lower(
    aten.gather.default,
    samples=gather_samples,
    takes={"self": MOVABLE, "index": Index(INDICES, below=indexed_size)},
)
@moves_narrow
def gather(tt, self, dim, index, sparse_grad):
    # `sparse_grad` is how the gradient would be stored.
    shape = shape_of(index)
    if len(shape) > 1:
        return tt.gather(self, dim % len(shape), index=index)
    self, index = (tt.reshape(x, [1, prod(x.shape)]) for x in (self, index))  # ttnn.gather takes no vectors
    return tt.reshape(tt.gather(self, 1, index=index), shape)


@from_sizes
def backwards(size: int, dim: int) -> Places:
    """All places, the last one first."""
    return places_of(torch.arange(size - 1, -1, -1, dtype=torch.int32, device="cpu"), dim)


def flip_samples():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [0])
        yield Sample(rand(5, 7, dtype=dtype), [1, 0])
        yield Sample(rand(2, 3, 33, 40, dtype=dtype), [-1])
        yield Sample(rand(2, 3, 4, 5, dtype=dtype), [1, 2])
        yield Sample(rand(2, 3, 4, dtype=dtype), [])
        yield Sample(rand(9, dtype=dtype), [0])
    yield Sample(rand(), [0])
    yield Sample(bools(5, 7), [0])
    yield Sample(ints(5, 7, dtype=torch.int32), [0, 1])
    yield Sample(ints(5, 7, dtype=torch.uint8), [1])
    yield Sample(rand(2, 1, 70000), [2, 1])
    yield Sample(ints(5, 7), [0])


@lower(aten.flip.default, samples=flip_samples, takes=MOVABLE)
@moves_narrow
def flip(tt, self, dims):
    shape = shape_of(self)
    for dim in {dim % len(shape) for dim in dims} if shape else ():
        before, size, after = around(shape, dim)
        if after == 1:
            self = read(tt, as_shape(tt, self, [1, before, size]), -1, backwards(size, -1))
        else:
            self = read(tt, as_shape(tt, self, [before, size, after]), -2, backwards(size, -2))
    return as_shape(tt, self, shape)
