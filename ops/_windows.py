"""Where the windows of a pool lie along each of the last dimensions, and the slices that go through them."""

from __future__ import annotations

from functools import reduce as fold
from typing import NamedTuple

import torch

from ..images import Image, unfolded
from .vocabulary import as_shape, cut, from_sizes


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

    def overlap(self) -> int:
        """In how many windows an element lies at most."""
        return self.dilation * (self.kernel - 1) // self.stride + 1

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


def windows(sizes, kernel_size, stride, padding, dilation, ceil_mode):
    """The windows along each of the dimensions that have these sizes."""
    made = []
    given = [list(v) * (len(sizes) // len(v)) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    for size, k, s, p, d in zip(sizes, *given, strict=True):
        free = size + 2 * p - d * (k - 1) - 1
        count = (-(-free // s) if ceil_mode else free // s) + 1
        if ceil_mode and (count - 1) * s >= size + p:  # the last window has to start inside
            count -= 1
        made.append(Windows(size, k, s, p, d, count))
    return tuple(made)


def padded(tt, x, sides, behind=0):
    """`x` with zeros where windows reach outside, in row-major layout; `behind` further dimensions are left alone."""
    return pad(tt, x, [(w.padding, w.reach() - w.padding - w.size) for w in sides] + [(0, 0)] * behind)


def pad(tt, x, widths):
    """`x` with zeros around its last dimensions, in row-major layout: in tile layout ttnn pads at the end only."""
    x = tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)
    return tt.pad(x, [(0, 0)] * (len(x.shape) - len(widths)) + widths, 0) if any(map(any, widths)) else x


def slide(tt, x, sides, combine, behind=0):
    """The elements of each window of a padded image, combined; `behind` further dimensions are left alone."""
    for dim, side in enumerate(sides, -len(sides) - behind):
        x = fold(combine, (side.cut(tt, x, dim, place) for place in range(side.kernel)))
    return x


def rows_of(tt, image, value=None):
    """The values of an image with the channels last, not folded, in row-major layout."""
    value = tt.to_layout(image.value if value is None else value, tt.ROW_MAJOR_LAYOUT)
    return as_shape(tt, value, unfolded(image.shape))


def pooled(image, value, sides):
    """What a pool makes of an image, with the channels last."""
    return Image(value, (*image.shape[:2], *(side.places for side in sides)), folded=False)


def whole_images(call):
    """Whether a pool takes an image as it is held: not one alone, which PyTorch takes without a batch."""
    return call["self"].ndim == 4


@from_sizes
def border(sides, rank, outside, inside, dtype, behind=0):
    """A padded image that holds `outside` in its padding, and inside `inside` or, if that is None, each position."""
    sizes = [side.size for side in sides]
    image = torch.full([side.reach() for side in sides], outside, dtype=dtype)
    part = image[tuple(slice(side.padding, side.padding + side.size) for side in sides)]
    part.copy_(torch.arange(part.numel(), dtype=torch.int64).view(sizes)) if inside is None else part.fill_(inside)
    return image.view([1] * (rank - len(sides) - behind) + list(image.shape) + [1] * behind)
