"""Convolutions of images and volumes, in calls of ttnn.conv2d that ttnn accepts."""

from __future__ import annotations

from math import prod

from ..images import Image, rows, unfolded
from ..on_demand import OnDemand
from ._convolution_sizes import form_of
from .vocabulary import accurate, as_shape, cut, shape_of


def conv2d(tt, x, kernel, bias, stride, padding, dilation, groups):
    """ttnn.conv2d of a batch of images, padded before and after, in calls that ttnn accepts."""
    sizes = kernel.shape if isinstance(kernel, OnDemand) else tuple(shape_of(kernel))
    form = form_of(tuple(x.shape), sizes, tuple(stride), tuple(padding), tuple(dilation), groups)
    kept = tt.prepared(kernel, ("conv2d weights", sizes), tt.KeptWeights)
    n, outs, height, width = form.shape
    x = in_tiles(tt, x) if form.tiled and x.dtype == tt.bfloat16 else x
    parts = []
    for start in range(0, n, form.at_once):
        count = min(form.at_once, n - start)
        out = tt.conv2d(
            kept=kept,
            input_tensor=x.value if count == n else some_images(tt, x, start, count),
            weight_tensor=kernel,
            bias_tensor=bias,
            device=tt.device,
            batch_size=count,
            dtype=x.dtype,
            conv_config=tt.once(tables_in_dram),
            compute_config=accurate(tt),
            **form.call,
        )
        parts.append(out)
    out = tt.concat(parts, 2) if len(parts) > 1 else parts[0]
    if form.computed == width:
        return Image(out, form.shape)
    out = cut(tt, tt.reshape(out, [n, height, form.computed, outs]), 2, 0, width)
    return Image(out, form.shape, folded=False)


def in_tiles(tt, x):
    """The images in tiles, and folded: a row of them may be a single column, which a tile would pad to 32."""
    if x.value.layout == tt.TILE_LAYOUT:
        return x
    value = x.value if x.folded else tt.reshape(x.value, list(rows(x.shape)))
    return Image(tt.to_layout(value, tt.TILE_LAYOUT), x.shape)


def some_images(tt, x, start, count):
    """The value of a part of a batch."""
    if not x.folded:
        return cut(tt, x.value, 0, start, start + count)
    places = prod(x.shape[2:])
    return cut(tt, x.value, 2, start * places, (start + count) * places)


def tables_in_dram(tt):
    return tt.Conv2dConfig(config_tensors_in_dram=True)


def conv(tt, x, kernel, bias, stride, padding, dilation, groups):
    """The convolution of images or volumes, padded before and after.

    A volume's planes are images, whose channels hold what each plane of the kernel sees there.
    """
    if len(x.shape) == 4:
        return conv2d(tt, x, kernel, bias, stride, padding, dilation, groups)
    images = planes(tt, x, kernel.shape[1] * groups // x.shape[1], stride[0], padding[0], dilation[0], groups)
    out = conv2d(tt, images, kernel, bias, stride[1:], padding[1:], dilation[1:], groups)
    count, outs, *sizes = out.shape
    shape = (x.shape[0], outs, count // x.shape[0], *sizes)
    return reshaped(tt, out, shape)


def reshaped(tt, x, shape):
    """An image as one of another shape, with as many places and the same channels: a folded value is the same."""
    return Image(x.value if x.folded else tt.reshape(x.value, list(unfolded(shape))), shape, x.folded)


def planes(tt, x, deep, stride, padding, dilation, groups):
    """The planes of volumes with so many times as many channels: what each plane of a kernel sees at that place."""
    n, channels, depth, rows, columns = x.shape
    places = (depth + sum(padding) - dilation * (deep - 1) - 1) // stride + 1
    shape = (n * places, deep * channels, rows, columns)
    if (deep, stride, padding) == (1, 1, (0, 0)):
        return reshaped(tt, x, shape)
    value = as_shape(tt, tt.to_layout(x.value, tt.ROW_MAJOR_LAYOUT), [n, depth, rows * columns, channels])
    if any(padding):
        value = tt.pad(value, [(0, 0), padding, (0, 0), (0, 0)], 0)
    value = seen_by(tt, value, 1, range(deep), stride, dilation, places, along=3)
    if groups > 1 and deep > 1:  # the channels of a group stay together
        value = tt.reshape(value, [n * places * rows * columns, deep, groups, channels // groups])
        value = tt.permute(value, [0, 2, 1, 3])
    return Image(tt.reshape(value, list(unfolded(shape))), shape, folded=False)


def seen_by(tt, x, dim, kernel, stride, dilation, places, along=0):
    """What each place of the kernel along a dimension sees, one behind the other: as batches, or along another one."""
    parts = [cut(tt, x, dim, k * dilation, k * dilation + (places - 1) * stride + 1, stride) for k in kernel]
    return parts[0] if len(parts) == 1 else tt.concat(parts, along)


def conv_transpose(tt, x, kernel, sizes, bias, stride, padding, dilation, output_padding, groups):
    """The convolution of `x`, with zeros between its elements, with a kernel of these sizes turned round.

    ttnn.conv_transpose2d takes weights of the host only, and does not cut large images to what fits its cores.
    """
    value = tt.to_layout(as_shape(tt, x.value, unfolded(x.shape)), tt.ROW_MAJOR_LAYOUT)
    sides = []
    for i, size in enumerate(sizes):
        value = spaced(tt, value, i + 1, stride[i])
        before = dilation[i] * (size - 1) - padding[i]
        sides.append((before, before + output_padding[i]))
    added = [(max(before, 0), max(after, 0)) for before, after in sides]
    images = Image(value, (*x.shape[:2], *shape_of(value)[1:-1]), folded=False)
    out = conv(tt, images, kernel, bias, [1] * len(sizes), added, dilation, groups)
    if all(min(side) >= 0 for side in sides):
        return out
    value, shape = as_shape(tt, out.value, unfolded(out.shape)), list(out.shape)
    for i, (before, after) in enumerate(sides):
        value = cut(tt, value, i + 1, max(-before, 0), shape[i + 2] - max(-after, 0))
        shape[i + 2] += min(before, 0) + min(after, 0)
    return Image(value, tuple(shape), folded=False)


def spaced(tt, x, dim, step):
    """`x` in row-major layout with `step - 1` zeros between its elements along a dimension."""
    shape = list(x.shape)
    size, rest = shape[dim], shape[dim + 1 :]
    if 1 in (step, size):
        return x
    each = tt.reshape(x, [prod(shape[: dim + 1]), 1, *rest])
    each = tt.pad(each, [(0, 0), (0, step - 1), *[(0, 0)] * len(rest)], 0)
    return cut(tt, tt.reshape(each, [*shape[:dim], size * step, *rest]), dim, 0, (size - 1) * step + 1)
