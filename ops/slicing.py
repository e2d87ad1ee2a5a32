"""Views of a part of a tensor, and the ops that copy such parts."""

from __future__ import annotations

import torch

from ..conditions import MOVABLE, Check
from ..registry import lower
from ..samples import Sample, rand
from .views import VIEWABLE, of
from .vocabulary import ROW, as_shape, at_most, cut, moved_last, moves_narrow, permuted, shape_of

aten = torch.ops.aten


def pieces(tt, x, dim, sizes):
    """`x` cut into pieces of these sizes along one dimension; None for a piece without elements."""
    dim, made, start = dim % len(x.shape), [], 0
    for size in sizes:
        made.append(cut(tt, x, dim, start, start + size) if size else None)
        start += size
    return made


select_samples = of([(4, 5), 0, 2], [(4, 5), -1, -1], [(2, 33, 40), 1, 32], [(5,), 0, 3], [(1, 4), 0, 0])


@lower(aten.select_copy.int, samples=select_samples, takes=VIEWABLE)
@lower(aten.select.int, samples=select_samples, takes=VIEWABLE)
@moves_narrow
def select(tt, self, dim, index):
    (taken,) = unbound(tt, self, dim, [index])
    return taken


unbind_samples = of([(3, 5), 0], [(2, 3, 40), -1], [(2, 3, 4), 1], [(3,), 0])


@lower(aten.unbind_copy.int, samples=unbind_samples, takes=VIEWABLE)
@lower(aten.unbind.int, samples=unbind_samples, takes=VIEWABLE)
@moves_narrow
def unbind(tt, self, dim):
    return unbound(tt, self, dim, range(self.shape[dim]))


def unbound(tt, x, dim, indices):
    """`x[index]` along one dimension for each index, without that dimension."""
    dim, shape = dim % len(x.shape), shape_of(x)
    size = shape.pop(dim)
    return [as_shape(tt, cut(tt, x, dim, i % size, i % size + 1), shape) for i in indices]


def wide_row(call):
    size = call["self"].shape[-1]
    whole = call["dim"] % call["self"].ndim != call["self"].ndim - 1 and call.arguments.get("step", 1) == 1
    return str(size) if size > ROW and not whole else None


ROWS_FIT = Check(f"whole rows, or rows of at most {ROW} elements", wide_row, because="ttnn.slice keeps cut rows in L1")


def slice_samples():
    yield from of(
        [(5, 7), 0, 1, 4], [(5, 7), 1, None, -1], [(5, 7), -1, 2, 100], [(5, 7), 0, -100, 2], [(5, 7)], [(7,), 0, -3],
        [(33, 65), 0, 1, 33, 3], [(33, 65), 1, 5, None, 2], [(2, 33, 40), 1, 32, None], [(2, 3, 5, 7), 2, 1, 3],
        [(2, 2, 2, 2, 5, 7), 3, 1, 2],
    )()  # fmt: skip
    yield Sample(rand(1, ROW + 1), 1, 1)
    yield Sample(rand(2, ROW + 1), 0, 1)


@lower(aten.slice_copy.Tensor, samples=slice_samples, takes=VIEWABLE, when=[ROWS_FIT])
@lower(aten.slice.Tensor, samples=slice_samples, takes=VIEWABLE, when=[ROWS_FIT])
@moves_narrow
def slice_(tt, self, dim, start, end, step):
    dim = dim % len(self.shape)
    start, stop, step = slice(start, end, step).indices(self.shape[dim])
    return cut(tt, self, dim, start, stop, step)


def split_samples():
    yield from of([(5, 7), 2], [(5, 7), 7, -1], [(33, 65), 32, 1], [(2, 6, 5, 7), 3, 1], [(5,), 2], [(2, 3), 4])()
    yield Sample(rand(1, ROW + 1), ROW, 1)


def split(tt, self, split_size, dim):
    size = self.shape[dim]
    return pieces(tt, self, dim, [min(split_size, size - start) for start in range(0, size, split_size)])


for op in (aten.split.Tensor, aten.split_copy.Tensor, aten.unsafe_split.Tensor):
    lower(op, samples=split_samples, takes=VIEWABLE, when=[ROWS_FIT])(moves_narrow(split))


def split_sizes_samples():
    yield from of([(5, 7), [2, 3]], [(5, 70), [1, 33, 36], -1], [(2, 6, 5, 7), [1, 5], 1], [(5,), [5]])()
    yield Sample(rand(1, ROW + 1), [1, ROW], 1)


def split_with_sizes(tt, self, split_sizes, dim):
    return pieces(tt, self, dim, split_sizes)


for op in (
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split_with_sizes.default,
):
    lower(op, samples=split_sizes_samples, takes=VIEWABLE, when=[ROWS_FIT])(moves_narrow(split_with_sizes))


def matrix_size(call):
    shape = call["self"].shape
    return shape[call["dim1"]] * shape[call["dim2"]]


def diagonal_samples():
    yield from of(
        [(5, 7)], [(7, 5), 1], [(5, 7), -2], [(2, 33, 40), 3, 1, 2], [(2, 3, 4, 5), -1, -1, 1], [(3, 3), 2],
    )()  # fmt: skip
    yield Sample(rand(2, ROW // 2 + 1))


def diagonal(tt, self, offset, dim1, dim2):
    matrices = permuted(tt, self, moved_last([dim1, dim2], len(self.shape)))
    *batch, rows, columns = shape_of(matrices)
    start = offset if offset >= 0 else -offset * columns
    count = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    flat = tt.reshape(matrices, [*batch, rows * columns])
    return cut(tt, flat, len(batch), start, start + (count - 1) * (columns + 1) + 1, columns + 1)


MATRIX_FITS = at_most(
    ROW, "a matrix of at most {} elements", matrix_size, because="its diagonal is cut out of one row in L1"
)
lower(aten.diagonal.default, samples=diagonal_samples, takes=VIEWABLE, when=[MATRIX_FITS])(moves_narrow(diagonal))
# What torch.diag makes.
lower(aten.diagonal_copy.default, samples=diagonal_samples, takes=MOVABLE, when=[MATRIX_FITS])(moves_narrow(diagonal))
