"""Padding, with a constant or with what the tensor has."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, MOVABLE, AtMost, Check, SizeAtMost
from ..registry import lower
from ..samples import Sample, ints, rand
from .vocabulary import FITS, ROW, at_most, cut, from_sizes, moves_narrow, number, torch_dtype

aten = torch.ops.aten

# How many elements of a padded row ttnn.pad keeps in L1, in any dtype.
PADDED_ROW = 65536


def sides(rank, pad):
    """(before, after) for each dimension; aten lists them from the last dimension."""
    given = list(zip(pad[0::2], pad[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(given)) + given


def emptied(call):
    shape = call["self"].shape
    left = [size + min(a, 0) + min(b, 0) for size, (a, b) in zip(shape, sides(len(shape), call["pad"]), strict=True)]
    return str(left) if min(left, default=1) < 1 else None


def padded_row(call):
    return call["self"].shape[-1] + sum(call["pad"][:2]) if call["self"].ndim else 0


def constant_pad_samples():
    for dtype in MOVABLE:
        yield Sample(ints(5, 7, high=2).to(dtype), [1, 2], 1)
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [0, 40])
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), [1, 2, 3, 0], 0.3)
        yield Sample(rand(2, 3, 33, 40, dtype=dtype), [0, 1, 1, 0, 2, 2], float("-inf"))
        yield Sample(rand(2, 2, 3, 4, 5, dtype=dtype), [1, 1, 0, 0, 1, 0, 0, 1, 2, 0], -7.1)
        yield Sample(rand(5, 7, dtype=dtype), [-1, 2, 1, -3], 2.5)
        yield Sample(rand(9, dtype=dtype), [3, 4], float("nan"))
        yield Sample(rand(5, 7, dtype=dtype), [-1, -2])
        yield Sample(rand(5, 7, dtype=dtype), [])
    yield Sample(ints(5, 7, dtype=torch.int32), [1, 2, 3, 4], -123456)
    yield Sample(ints(5, 7, dtype=torch.int32), [1, 2], float("inf"))
    yield Sample(rand(dtype=torch.float32), [])
    yield Sample(ints(5, 7, dtype=torch.uint8), [1, 2], 300)
    yield Sample(rand(5, 7).double(), [1, 2])
    yield Sample(rand(5, 7), [-7, 2])
    yield Sample(rand(1, PADDED_ROW), [1, 0])


@lower(
    aten.constant_pad_nd.default,
    samples=constant_pad_samples,
    takes=MOVABLE,
    when=[
        FITS,
        Check("negative padding leaves something", emptied, because="ttnn has no empty slices"),
        at_most(PADDED_ROW, "padded rows of at most {} elements", padded_row, because="ttnn.pad keeps rows in L1"),
    ],
)
@moves_narrow
def constant_pad_nd(tt, self, pad, value):
    by_dim = sides(len(self.shape), pad)
    for dim, (before, after) in enumerate(by_dim):
        self = cut(tt, self, dim, max(-before, 0), self.shape[dim] - max(-after, 0))
    widths = [(max(before, 0), max(after, 0)) for before, after in by_dim]
    if not any(map(any, widths)):
        return self

    value = number(tt, value, self)
    # ttnn packs a 32-bit padding value as bfloat16 (tt-metal issue 57354), so only zeros are padded.
    fill = value if self.dtype == tt.bfloat16 else 0
    # In tile layout ttnn pads at the end only.
    padded = tt.to_layout(tt.pad(tt.to_layout(self, tt.ROW_MAJOR_LAYOUT), widths, fill), tt.TILE_LAYOUT)
    if value == fill:
        return padded
    return tt.where(tt.constant(inside(tuple(self.shape), tuple(widths), torch_dtype(tt, self))), padded, value)


@from_sizes
def inside(shape, widths, dtype):
    """Ones where a padded tensor has its own elements, and zeros around them; of size 1 where it is not padded."""
    given = [
        (size, before, after) if before or after else (1, 0, 0)
        for size, (before, after) in zip(shape, widths, strict=True)
    ]
    mask = torch.zeros([sum(parts) for parts in given], dtype=dtype)
    mask[tuple(slice(before, before + size) for size, before, _ in given)] = 1
    return mask


def mirrored(before, after, size):
    return [*range(before, 0, -1)], [size - 2 - i for i in range(after)]


def replicated(before, after, size):
    return [0] * before, [size - 1] * after


def edge_pad_samples(rank):
    def samples():
        shape, ones = [5, 6, 7][-rank:], [1, 2] * rank
        for dtype in FLOATS:
            yield Sample(rand(2, 3, *shape, dtype=dtype), ones)
            yield Sample(rand(3, *shape, dtype=dtype), [0, 3] * rank)
            yield Sample(rand(1, 33, *shape, dtype=dtype), [0] * 2 * rank)
            yield Sample(rand(2, 3, *shape, dtype=dtype), [-1, 2] * rank)
        yield Sample(rand(2, 3, *shape).double(), ones)
        yield Sample(rand(2, 3, *shape[:-1], 40), [33, 0] * (rank == 1) + [33, 0, *[0] * (2 * rank - 2)] * (rank > 1))
        yield Sample(rand(1, *[1] * rank, ROW + 1), [1, 0, *[0] * (2 * rank - 2)])

    return samples


def lower_edge_pad(op, rank, taken):
    @lower(
        op,
        samples=edge_pad_samples(rank),
        takes=FLOATS,
        when=[
            AtMost("padding", 32, because="it takes one slice for each row that is added"),
            SizeAtMost("self", -1, ROW, because="ttnn.slice keeps rows in L1"),
        ],
    )
    def pad(tt, self, padding):
        for dim, (before, after) in enumerate(sides(len(self.shape), padding)):
            size = self.shape[dim]
            kept = cut(tt, self, dim, max(-before, 0), size - max(-after, 0))
            edges = taken(before, after, size)
            rows = {i: cut(tt, self, dim, i, i + 1) for i in dict.fromkeys([*edges[0], *edges[1]])}
            front, back = ([rows[i] for i in part] for part in edges)
            self = tt.concat([*front, kept, *back], dim) if front or back else kept
        return self


for n, (reflection, replication) in enumerate(
    [
        (aten.reflection_pad1d.default, aten.replication_pad1d.default),
        (aten.reflection_pad2d.default, aten.replication_pad2d.default),
        (aten.reflection_pad3d.default, aten.replication_pad3d.default),
    ],
    start=1,
):
    lower_edge_pad(reflection, n, mirrored)
    lower_edge_pad(replication, n, replicated)
