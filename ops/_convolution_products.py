"""The gradient of a convolution's kernel: products of what meets at each of its places."""

from __future__ import annotations

from math import prod

from ..images import Image
from ._convolution_calls import seen_by
from .vocabulary import accurate, as_shape, permuted, reduce, shape_of, widen

# So many bytes of patches are held at once; of larger images they are multiplied row by row of the kernel.
PATCHES = 2**28


def of_kernel(tt, moved, fixed, sizes, stride, padding, dilation, groups):
    """The gradient of the kernel: what of `moved`, at each place of the kernel, goes together with `fixed`.

    That is a product over all places of the image, and for a kernel of one channel each a sum of products. It comes as
    (columns, rows, outs, channels of one group), of volumes as (columns, rows, planes, outs, channels of one group).
    """
    *_, channels = shape_of(moved)
    n, *places, outs = shape_of(fixed)
    x = tt.to_layout(moved, tt.ROW_MAJOR_LAYOUT)
    if any(padding):
        x = tt.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], 0)
    fixed, count = as_shape(tt, fixed, [n * prod(places), outs]), n * prod(places)
    at_once = sizes[0] if prod(sizes) * count * -(-channels // 32) * 128 <= PATCHES else 1
    parts = []
    for first in range(0, sizes[0], at_once):
        each = [range(first, min(first + at_once, sizes[0])), *map(range, sizes[1:])]
        taps = x
        for i, kernel in enumerate(each):
            taps = seen_by(tt, taps, i + 1, kernel, stride[i], dilation[i], places[i])
        counts = [len(kernel) for kernel in reversed(each)]
        taps = tt.to_layout(tt.reshape(taps, [prod(counts), count, channels]), tt.TILE_LAYOUT)
        found = products(tt, taps, fixed, groups)
        parts.append(tt.reshape(found, [*counts, outs, channels // groups]))
    return parts[0] if len(parts) == 1 else tt.concat(parts, len(sizes) - 1)


def as_image(tt, found, shape):
    """A kernel (columns, rows, outs, channels of one group), or a volume's with its planes, with its channels last.

    In tiles, the few rows and columns of (outs, channels, rows, columns) would take a hundred times their size.
    """
    *taps, outs, channels = shape_of(found)
    if prod(taps) > 1:
        order = [*reversed(range(len(taps) + 1)), len(taps) + 1]
        found = permuted(tt, tt.to_layout(found, tt.ROW_MAJOR_LAYOUT), order)
    value = tt.reshape(found, [1, 1, outs * prod(taps), channels])
    return Image(tt.to_layout(value, tt.TILE_LAYOUT), shape)


def products(tt, taps, fixed, groups):
    """(taps, places, channels) with (places, outs): (taps, outs, channels of one group)."""
    count, places, channels = taps.shape
    outs = fixed.shape[1]
    if groups == 1:
        made = tt.matmul(taps, fixed, transpose_a=True, compute_kernel_config=accurate(tt), dtype=tt.float32)
        return tt.permute(made, [0, 2, 1])
    each = channels // groups
    if each == 1 and outs == groups:
        made = tt.multiply(widen(tt, taps), widen(tt, tt.reshape(fixed, [1, places, outs])))
        return tt.reshape(reduce(tt, "sum", made, 1), [count, outs, 1])
    # One product for each group, and one row of patches for each of its channels at each tap.
    taps = tt.reshape(
        permuted(tt, tt.reshape(taps, [count, places, groups, each]), [2, 1, 0, 3]), [groups, places, count * each]
    )
    fixed = tt.permute(tt.reshape(fixed, [places, groups, outs // groups]), [1, 0, 2])
    made = tt.matmul(fixed, taps, transpose_a=True, compute_kernel_config=accurate(tt), dtype=tt.float32)
    return tt.permute(tt.reshape(made, [outs, count, each]), [1, 0, 2])
