"""Averages of windows: slices of the padded image, a step apart, added down and then across."""

from __future__ import annotations

import torch

from ..apart import batch
from ..conditions import FLOATS
from ..images import Image
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._weighed import MOST_GATHERED, averaged, pooled_at_once
from ._windows import padded, pooled, rows_of, slide, whole_images, windows
from .max_pooling import LARGEST_KERNEL, ROWS_PADDED
from .pad import PADDED_ROW
from .vocabulary import as_shape, at_most, cast, folded, from_sizes, reduce, shape_of, widen

aten = torch.ops.aten


def avg_pool_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 3], [2, 2])
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 2], [1, 1], True)
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 2], [1, 1], True, False)
        yield Sample(rand(1, 2, 33, 40, dtype=dtype), [2, 2], [], [0], False, True, 3)
        yield Sample(rand(3, 9, 11, dtype=dtype), [3], [1], [1], False, False)
    yield Sample(rand(1, 2, 6, 6), [2, 2], [3, 3], [1, 1], True)
    yield Sample(rand(1, 2, 6, 6), [3, 3], [1, 1], [1, 1], False, False, -2)
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])
    yield Sample(rand(1, 1, 2, 129), [1, 129])
    yield Sample(rand(1, 1, 1, PADDED_ROW // 2 + 1), [1, 2])


@lower(
    aten.avg_pool2d.default,
    samples=avg_pool_samples,
    takes={"self": Tensor(FLOATS, images=whole_images)},
    when=[LARGEST_KERNEL, ROWS_PADDED],
    apart=batch("self"),
)
def avg_pool2d(tt, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    sides = windows(shape_of(self)[-2:], kernel_size, stride, padding, [1], ceil_mode)
    behind = 1 if isinstance(self, Image) else 0
    values = rows_of(tt, self, widen(tt, self.value)) if behind else widen(tt, self)
    total = tt.to_layout(slide(tt, padded(tt, values, sides, behind), sides, tt.add, behind), tt.TILE_LAYOUT)
    rows, columns = (side.lengths(count_include_pad) for side in sides)
    if divisor_override is not None or (len(set(rows)), len(set(columns))) == (1, 1):
        made = cast(tt, tt.multiply(total, 1 / (divisor_override or rows[0] * columns[0])), self.dtype)
    else:
        counts = widen(tt, tt.constant(areas(tuple(rows), tuple(columns), len(self.shape) - behind, behind)))
        made = cast(tt, tt.divide(total, counts), self.dtype)
    return pooled(self, made, sides) if behind else made


@from_sizes
def areas(rows, columns, rank, behind=0):
    sides = (torch.tensor(lengths, dtype=torch.float32) for lengths in (rows, columns))
    return torch.outer(*sides).view([1] * (rank - 2) + [len(rows), len(columns)] + [1] * behind)


def adaptive_avg_pool_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [4, 3])
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [5, 7])
        yield Sample(rand(3, 33, 40, dtype=dtype), [1, 1])
        yield Sample(rand(1, 3, 7, 7, dtype=dtype), [7, 12])
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])
    yield Sample(rand(1, 2, 50, 44), [7, 4])
    yield Sample(rand(1, 2, 1, 301), [1, 29])
    yield Sample(rand(1, 1, 1).expand(64, 64, 40001), [64, 1000])


def gathered(call):
    *outer, height, width = call["self"].shape
    rows, columns = call["output_size"]
    return max(
        pooled_at_once((*outer, height, width), -1, columns), pooled_at_once((*outer, height, columns), -2, rows)
    )


@lower(
    aten._adaptive_avg_pool2d.default,
    samples=adaptive_avg_pool_samples,
    takes=FLOATS,
    when=[at_most(MOST_GATHERED, "at most {} elements in windows", gathered, because="all windows are held at once")],
    apart=batch("self"),
)
def adaptive_avg_pool2d(tt, self, output_size, out):
    if list(output_size) == [1, 1]:
        return cast(tt, reduce(tt, "mean", widen(tt, self), [-2, -1], keepdim=True), self.dtype)
    rows, columns = output_size
    x = averaged(tt, folded(tt, widen(tt, self), 3), -1, columns)
    return cast(tt, as_shape(tt, averaged(tt, x, -2, rows), out.shape), self.dtype)
