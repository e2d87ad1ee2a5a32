"""Maxima of windows: slices of the padded image, a step apart, combined along one dimension after the other."""

from __future__ import annotations

import torch

from ..apart import batch
from ..conditions import FLOATS, AtMost, Check, SizeAtMost
from ..images import Image
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._windows import border, padded, pooled, rows_of, slide, whole_images, windows
from .pad import PADDED_ROW
from .vocabulary import NAN_IS_LOST, one_number, torch_dtype

aten = torch.ops.aten

NAN, INF = float("nan"), float("inf")
OUTSIDE = 2**30  # a position that no element has

LARGEST_KERNEL = AtMost("kernel_size", 128, because="it takes one slice for each row and column of the kernel")
ROWS_PADDED = SizeAtMost("self", -1, PADDED_ROW // 2, because="ttnn.pad keeps rows in L1")


def max_pool(tt, x, sides):
    """The maximum of each window and, in a function, where it is."""
    if isinstance(x, Image):
        image, best = maxima(tt, rows_of(tt, x), sides, behind=1)
        return pooled(x, best, sides), lambda: where_in(tt, tt.permute(image, [0, 3, 1, 2]), sides)
    image, best = maxima(tt, x, sides)
    return best, lambda: where_in(tt, image, sides)


def maxima(tt, x, sides, behind=0):
    """The padded image, and the maximum of each window; the image may have `behind` more dimensions."""
    image = padded(tt, x, sides, behind)
    if image.shape != x.shape:
        # ttnn packs a 32-bit padding value as bfloat16 (tt-metal issue 57354), so infinities are added to zeros.
        outside = tt.constant(border(sides, len(x.shape), -INF, 0.0, torch_dtype(tt, x), behind))
        image = tt.to_layout(tt.add(tt.to_layout(image, tt.TILE_LAYOUT), outside), tt.ROW_MAJOR_LAYOUT)
    return image, tt.to_layout(slide(tt, image, sides, tt.maximum, behind), tt.TILE_LAYOUT)


def where_in(tt, image, sides):
    """The position of each window's maximum: of the first one, but of the last NaN, as in PyTorch's loop.

    As the maximum itself, it is found along the last dimension first: so positions are met in their order.
    """
    rank = len(image.shape)
    values = image
    positions = tt.to_layout(tt.constant(border(sides, rank, OUTSIDE, None, torch.int32)), tt.ROW_MAJOR_LAYOUT)
    nowhere = tt.constant(one_number(OUTSIDE, torch.int32, rank))
    for dim, side in reversed(list(enumerate(sides, -len(sides)))):
        best = found = None
        for place in range(side.kernel):
            value, position = (tt.to_layout(side.cut(tt, t, dim, place), tt.TILE_LAYOUT) for t in (values, positions))
            if best is None:
                best, found = value, position
                continue
            # Padding is no maximum, not even of infinities below zero.
            taken = tt.where(tt.eq(found, nowhere), position, found)
            taken = tt.where(tt.gt(value, best), position, taken)
            found = tt.where(tt.isnan(value), position, taken)
            best = tt.maximum(best, value)
        values, positions = (tt.to_layout(t, tt.ROW_MAJOR_LAYOUT) for t in (best, found))
    shape = list(image.shape)[: -len(sides)] + [side.places for side in sides]
    positions = tt.to_layout(positions, tt.TILE_LAYOUT)
    # Windows of one element each are everywhere alike.
    return positions if list(positions.shape) == shape else tt.expand(positions, shape)


def sides_of(call, dims):
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return windows(call["self"].shape[-dims:], *(call[name] for name in names))


def lower_max_pool(op, dims, samples):
    def empty_window(call):
        empty = any(side.empty() for side in sides_of(call, dims))
        return f"dilation {call['dilation']} of {call['self']}" if empty else None

    @lower(
        op,
        samples=samples,
        takes={"self": Tensor(FLOATS, images=whole_images if dims == 2 else None)},
        chip=NAN_IS_LOST,
        apart=batch("self"),
        when=[
            LARGEST_KERNEL,
            ROWS_PADDED,
            Check(
                "no window of padding alone",
                empty_window,
                because="PyTorch's index of its maximum is none of the input's",
            ),
        ],
    )
    def max_pool_with_indices(tt, self, kernel_size, stride, padding, dilation, ceil_mode):
        return max_pool(tt, self, windows(list(self.shape)[-dims:], kernel_size, stride, padding, dilation, ceil_mode))


def image_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 3], [2, 2], [0, 0], [1, 1], True)
        yield Sample(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 1], [1, 0])
        yield Sample(rand(1, 2, 33, 40, dtype=dtype), [2, 2])
        yield Sample(rand(3, 9, 11, dtype=dtype), [3], [3], [1], [2], True)
    yield Sample(rand(1, 2, 6, 6), [2, 2], [3, 3], [0, 0], [1, 1], True)
    yield Sample(rand(1, 2, 6, 7).round(), [3, 3], [1, 1], [1, 1])
    yield Sample(rand(2, 3, 6, 7), [1, 1], [2, 1])
    yield Sample(torch.full((1, 1, 5, 5), -INF), [3, 3], [2, 2], [1, 1])
    yield Sample(torch.tensor([[[[NAN, 3.0, 1.0], [2.0, NAN, 5.0], [-INF, 0.0, 5.0]]]]), [2, 2], [1, 1], [1, 1])
    yield Sample(rand(1, 2, 6, 6).double(), [2, 2])
    yield Sample(rand(1, 1, 2, 129), [1, 129])
    yield Sample(rand(1, 1, 1, PADDED_ROW // 2 + 1), [1, 2])
    yield Sample(rand(1, 1, 1, 8), [2, 1], [2, 2], [1, 0], [2, 2])


def volume_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 4, 12, 9, dtype=dtype), [2, 3, 3], [1, 2, 2], [0, 0, 0], [1, 1, 1], True)
        yield Sample(rand(2, 3, 5, 6, 9, dtype=dtype), [3, 3, 2], [2, 2, 1], [1, 1, 0])
        yield Sample(rand(1, 2, 3, 33, 40, dtype=dtype), [2, 2, 2])
        yield Sample(rand(3, 7, 9, 11, dtype=dtype), [3], [3], [1], [2], True)
    yield Sample(rand(1, 2, 4, 6, 7).round(), [3, 3, 3], [1, 1, 1], [1, 1, 1])
    yield Sample(torch.full((1, 1, 5, 5, 4), -INF), [3, 3, 3], [2, 2, 2], [1, 1, 1])
    values = rand(2, 4, 5, 6)
    values[:, 1:3, ::2, 1:4] = NAN
    yield Sample(values, [2, 3, 2], [1, 1, 1], [1, 1, 1])
    yield Sample(rand(1, 2, 4, 6, 6).double(), [2, 2, 2])
    yield Sample(rand(1, 1, 1, 2, 129), [1, 1, 129])
    yield Sample(rand(1, 1, 1, 1, PADDED_ROW // 2 + 1), [1, 1, 2])
    yield Sample(rand(1, 1, 1, 1, 8), [1, 2, 1], [2, 2, 2], [0, 1, 0], [2, 2, 2])


lower_max_pool(aten.max_pool2d_with_indices.default, 2, image_samples)
lower_max_pool(aten.max_pool3d_with_indices.default, 3, volume_samples)


def adaptive_max_pool_samples(dims):
    def samples():
        more = [4] * (dims - 2)
        for dtype in FLOATS:
            yield Sample(rand(2, 3, *more, 12, 9, dtype=dtype), [*more, 4, 3])
            yield Sample(rand(3, *more, 6, 40, dtype=dtype), [1] * (dims - 1) + [40])
        yield Sample(rand(1, 2, *more, 6, 6).double(), [2] * dims)
        yield Sample(rand(1, 2, *more, 7, 6), [2] * (dims - 1) + [3])
        yield Sample(rand(1, 1, *more, 2, 129), [1] * dims)

    return samples


def lower_adaptive_max_pool(op, dims):
    def uneven(call):
        sizes = list(zip(call["self"].shape[-dims:], call["output_size"], strict=True))
        return " and ".join(f"{size} for {out}" for size, out in sizes) if any(a % b for a, b in sizes) else None

    def large_windows(call):
        sizes = [size // out for size, out in zip(call["self"].shape[-dims:], call["output_size"], strict=True)]
        return str(sizes) if max(sizes) > 128 else None

    @lower(
        op,
        samples=adaptive_max_pool_samples(dims),
        takes={"self": Tensor(FLOATS, images=whole_images if dims == 2 else None)},
        chip=NAN_IS_LOST,
        apart=batch("self"),
        when=[
            Check("sizes are multiples of output_size", uneven, because="windows of several sizes are no slices"),
            Check("windows of at most 128 rows and columns", large_windows, because="it takes one slice for each"),
        ],
    )
    def adaptive_max_pool(tt, self, output_size):
        sizes = list(self.shape)[-dims:]
        kernel = [size // out for size, out in zip(sizes, output_size, strict=True)]
        return max_pool(tt, self, windows(sizes, kernel, kernel, [0], [1], False))


lower_adaptive_max_pool(aten.adaptive_max_pool2d.default, 2)
lower_adaptive_max_pool(aten.adaptive_max_pool3d.default, 3)
