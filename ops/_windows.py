"""Where the windows of a pool lie along each of the last dimensions, and the slices that go through them."""

from __future__ import annotations

from functools import reduce as fold
from typing import NamedTuple

import torch

from .vocabulary import cut, from_sizes


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


def padded(tt, x, sides):
    """`x` with zeros where windows reach outside, in row-major layout."""
    return pad(tt, x, [(w.padding, w.reach() - w.padding - w.size) for w in sides])


def pad(tt, x, widths):
    """`x` with zeros around its last dimensions, in row-major layout: in tile layout ttnn pads at the end only."""
    x = tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)
    return tt.pad(x, [(0, 0)] * (len(x.shape) - len(widths)) + widths, 0) if any(map(any, widths)) else x


def slide(tt, x, sides, combine):
    """The elements of each window of a padded image, combined."""
    for dim, side in enumerate(sides, -len(sides)):
        x = fold(combine, (side.cut(tt, x, dim, place) for place in range(side.kernel)))
    return x


@from_sizes
def border(sides, rank, outside, inside, dtype):
    """A padded image that holds `outside` in its padding, and inside `inside` or, if that is None, each position."""
    sizes = [side.size for side in sides]
    image = torch.full([side.reach() for side in sides], outside, dtype=dtype)
    part = image[tuple(slice(side.padding, side.padding + side.size) for side in sides)]
    part.copy_(torch.arange(part.numel(), dtype=torch.int64).view(sizes)) if inside is None else part.fill_(inside)
    return image.view([1] * (rank - len(sides)) + list(image.shape))
