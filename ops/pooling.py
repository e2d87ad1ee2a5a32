"""Pooling of sequences and images: slices of the padded image, a step apart, combined down and then across."""

from __future__ import annotations

from functools import reduce as fold
from typing import NamedTuple

import torch

from ..conditions import FLOATS, AtMost, Check, Dtype, SizeAtMost
from ..registry import cpu_only, lower
from ..samples import Sample, rand
from ._compute import cast, widen
from ._resample import from_sizes, weigh, weights
from .pad import PADDED_ROW
from .reduction import reduce
from .views import cut

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16
NAN, INF = float("nan"), float("inf")
OUTSIDE = 2**30  # a position that no element has

LARGEST_KERNEL = AtMost("kernel_size", 128, because="it takes one slice for each row and column of the kernel")
ROWS_PADDED = SizeAtMost("self", -1, PADDED_ROW // 2, because="ttnn.pad keeps rows in L1")


class Windows(NamedTuple):
    """Where the windows of a pool lie along one dimension."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    places: int

    def reach(self) -> int:
        """The size with padding, behind as far as a window reaches (by `ceil_mode`, beyond the padding asked for)."""
        return max(self.size + self.padding, (self.places - 1) * self.stride + self.dilation * (self.kernel - 1) + 1)

    def cut(self, tt, padded, dim, place):
        """The element at one place of the kernel, for every window."""
        start = place * self.dilation
        return cut(tt, padded, dim, start, start + (self.places - 1) * self.stride + 1, self.stride)

    def empty(self):
        """Whether a window has nothing but padding in it, as a dilated one may."""
        starts = range(-self.padding, self.places * self.stride - self.padding, self.stride)
        places = range(0, self.kernel * self.dilation, self.dilation)
        return any(all(not 0 <= start + place < self.size for place in places) for start in starts)

    def lengths(self, count_include_pad):
        """How many elements each window averages over."""
        first, end = (-self.padding, self.size + self.padding) if count_include_pad else (0, self.size)
        starts = range(-self.padding, self.places * self.stride - self.padding, self.stride)
        ends = (min(start + self.kernel, self.size + self.padding) for start in starts)
        return [min(stop, end) - max(start, first) for start, stop in zip(starts, ends, strict=True)]


def windows(shape, kernel_size, stride, padding, dilation, ceil_mode):
    """The windows along the rows and along the columns."""
    made = []
    given = [list(v) * (2 // len(v)) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    for size, k, s, p, d in zip(list(shape)[-2:], *given, strict=True):
        free = size + 2 * p - d * (k - 1) - 1
        count = (-(-free // s) if ceil_mode else free // s) + 1
        if ceil_mode and (count - 1) * s >= size + p:  # the last window has to start inside
            count -= 1
        made.append(Windows(size, k, s, p, d, count))
    return made


def padded(tt, x, sides):
    """`x` with zeros where windows reach outside, in row-major layout: in tile layout ttnn pads at the end only."""
    x = tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)
    widths = [(w.padding, w.reach() - w.padding - w.size) for w in sides]
    if not any(map(any, widths)):
        return x
    return tt.pad(x, [(0, 0)] * (len(x.shape) - 2) + widths, 0)


def slide(tt, x, sides, combine):
    """The elements of each window of a padded image, combined."""
    for dim, side in zip((-2, -1), sides, strict=True):
        x = fold(combine, (side.cut(tt, x, dim, place) for place in range(side.kernel)))
    return x


def max_pool(tt, x, sides):
    """The maximum of each window and, in a function, where it is."""
    image = padded(tt, x, sides)
    if image.shape != x.shape:
        # ttnn packs a 32-bit padding value as bfloat16 (tt-metal issue 57354), so infinities are added to zeros.
        dtype = BFLOAT16 if x.dtype == tt.bfloat16 else torch.float32
        outside = tt.constant(border(*sides, len(x.shape), -INF, 0.0, dtype))
        image = tt.to_layout(tt.add(tt.to_layout(image, tt.TILE_LAYOUT), outside), tt.ROW_MAJOR_LAYOUT)
    best = tt.to_layout(slide(tt, image, sides, tt.maximum), tt.TILE_LAYOUT)
    return best, lambda: where_in(tt, image, best, sides)


def where_in(tt, image, best, sides):
    """The position of each window's maximum: of the first one, but of the last NaN, as in PyTorch's loop."""
    rows, columns = sides
    rank = len(image.shape)
    positions = tt.to_layout(tt.constant(border(*sides, rank, OUTSIDE, None, torch.int32)), tt.ROW_MAJOR_LAYOUT)
    nowhere, none = (tt.constant(number(rank, value)) for value in (OUTSIDE, -1))
    first = last = None
    for i in range(rows.kernel):
        for j in range(columns.kernel):
            element, position = (
                tt.to_layout(columns.cut(tt, rows.cut(tt, t, -2, i), -1, j), tt.TILE_LAYOUT) for t in (image, positions)
            )
            found = tt.where(tt.eq(element, best), position, nowhere)
            not_number = tt.where(tt.isnan(element), position, none)
            first = found if first is None else tt.minimum(first, found)
            last = not_number if last is None else tt.maximum(last, not_number)
    return tt.where(tt.gt(last, none), last, first)


@from_sizes
def border(rows, columns, rank, outside, inside, dtype):
    """A padded image that holds `outside` in its padding, and inside `inside` or, if that is None, each position."""
    positions = torch.arange(rows.size * columns.size).view(rows.size, columns.size)
    image = torch.full((rows.reach(), columns.reach()), outside, dtype=dtype)
    part = image[rows.padding : rows.padding + rows.size, columns.padding : columns.padding + columns.size]
    part.copy_(positions) if inside is None else part.fill_(inside)
    return image.view([1] * (rank - 2) + list(image.shape))


@from_sizes
def number(rank, value):
    return torch.full([1] * rank, value, dtype=torch.int32)


def empty_window(call):
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    sides = windows(call["self"].shape, *(call[name] for name in names))
    return f"dilation {call['dilation']} of {call['self']}" if any(side.empty() for side in sides) else None


def max_pool_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 3], [2, 2], [0, 0], [1, 1], True)
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 1], [1, 0])
        yield Sample(rand(1, 2, 33, 40, dtype=dtype), [2, 2])
        yield Sample(rand(3, 9, 11, dtype=dtype), [3], [3], [1], [2], True)
    yield Sample(rand(1, 2, 6, 6), [2, 2], [3, 3], [0, 0], [1, 1], True)
    yield Sample(rand(1, 2, 6, 7).round(), [3, 3], [1, 1], [1, 1])
    yield Sample(torch.full((1, 1, 5, 5), -INF), [3, 3], [2, 2], [1, 1])
    yield Sample(torch.tensor([[[[NAN, 3.0, 1.0], [2.0, NAN, 5.0], [-INF, 0.0, 5.0]]]]), [2, 2], [1, 1], [1, 1])
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])
    yield Sample(rand(1, 1, 2, 129), [1, 129])
    yield Sample(rand(1, 1, 1, PADDED_ROW // 2 + 1), [1, 2])
    yield Sample(rand(1, 1, 1, 8), [2, 1], [2, 2], [1, 0], [2, 2])


@lower(
    aten.max_pool2d_with_indices.default,
    samples=max_pool_samples,
    when=[
        Dtype("self", FLOATS),
        LARGEST_KERNEL,
        ROWS_PADDED,
        Check(
            "no window of padding alone", empty_window, because="PyTorch's index of its maximum is none of the input's"
        ),
    ],
)
def max_pool2d_with_indices(tt, self, kernel_size, stride, padding, dilation, ceil_mode):
    return max_pool(tt, self, windows(self.shape, kernel_size, stride, padding, dilation, ceil_mode))


def uneven(call):
    sizes = list(zip(call["self"].shape[-2:], call["output_size"], strict=True))
    return " and ".join(f"{size} for {out}" for size, out in sizes) if any(size % out for size, out in sizes) else None


def adaptive_max_pool_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [4, 3])
        yield Sample(rand(3, 6, 40, dtype=dtype), [1, 40])
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])
    yield Sample(rand(1, 2, 7, 6), [2, 3])
    yield Sample(rand(1, 1, 2, 129), [1, 1])


def large_windows(call):
    sizes = [size // out for size, out in zip(call["self"].shape[-2:], call["output_size"], strict=True)]
    return str(sizes) if max(sizes) > 128 else None


@lower(
    aten.adaptive_max_pool2d.default,
    samples=adaptive_max_pool_samples,
    when=[
        Dtype("self", FLOATS),
        Check(
            "rows and columns are multiples of output_size", uneven, because="windows of several sizes are no slices"
        ),
        Check("windows of at most 128 rows and columns", large_windows, because="it takes one slice for each"),
    ],
)
def adaptive_max_pool2d(tt, self, output_size):
    kernel = [size // out for size, out in zip(list(self.shape)[-2:], output_size, strict=True)]
    return max_pool(tt, self, windows(self.shape, kernel, kernel, [0], [1], False))


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
    when=[Dtype("self", FLOATS), LARGEST_KERNEL, ROWS_PADDED],
)
def avg_pool2d(tt, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    sides = windows(self.shape, kernel_size, stride, padding, [1], ceil_mode)
    total = tt.to_layout(slide(tt, padded(tt, widen(tt, self), sides), sides, tt.add), tt.TILE_LAYOUT)
    rows, columns = (side.lengths(count_include_pad) for side in sides)
    if divisor_override is not None or (len(set(rows)), len(set(columns))) == (1, 1):
        return cast(tt, tt.multiply(total, 1 / (divisor_override or rows[0] * columns[0])), self.dtype)
    counts = widen(tt, tt.constant(areas(tuple(rows), tuple(columns), len(self.shape))))
    return cast(tt, tt.divide(total, counts), self.dtype)


@from_sizes
def areas(rows, columns, rank):
    return torch.outer(torch.tensor(rows), torch.tensor(columns)).float().view([1] * (rank - 2) + [len(rows), -1])


def adaptive_avg_pool_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [4, 3])
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [5, 7])
        yield Sample(rand(3, 33, 40, dtype=dtype), [1, 1])
        yield Sample(rand(1, 3, 7, 7, dtype=dtype), [7, 12])
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])


@lower(aten._adaptive_avg_pool2d.default, samples=adaptive_avg_pool_samples, when=[Dtype("self", FLOATS)])
def adaptive_avg_pool2d(tt, self, output_size):
    if list(output_size) == [1, 1]:
        return cast(tt, reduce(tt, "mean", widen(tt, self), [-2, -1], keepdim=True), self.dtype)
    op = aten._adaptive_avg_pool2d.default
    return weigh(
        tt, self, *(weights(op, size, out) for size, out in zip(list(self.shape)[-2:], output_size, strict=True))
    )


def volumes():
    yield Sample(rand(1, 2, 4, 4, 4), [2, 2, 2])


cpu_only(
    aten.max_pool3d_with_indices.default,
    aten.avg_pool3d.default,
    aten._adaptive_avg_pool3d.default,
    aten.adaptive_max_pool3d.default,
    because="ttnn has no pools over three dimensions",
    samples=volumes,
)
