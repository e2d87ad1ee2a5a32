"""Convolutions over one and two dimensions, also grouped and transposed."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Dtype, Rank, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ._compute import accurate
from .views import cut

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16

# ttnn cuts images, but not batches, to what fits its cores: it refuses a few times as many elements in one call.
BATCH = 2**20
# Rows with a longer kernel do not fit the cores; as a column they do.
LONG_KERNEL = 32
# ttnn's table of where each row of outputs starts has room for rows of at least so many.
FEWEST_COLUMNS = 3


def conv(shape, out, kernel, *, stride=1, padding=0, dilation=1, out_padding=None, groups=1, bias=True, dtype=None):
    """A sample; with `out_padding`, of a transposed convolution."""
    dims, transposed, dtype = len(kernel), out_padding is not None, dtype or torch.float32
    ins, outs = (shape[1], out // groups) if transposed else (out, shape[1] // groups)
    values = (stride, padding, dilation, out_padding or 0)
    stride, padding, dilation, out_padding = (v if isinstance(v, list) else [v] * dims for v in values)
    tensors = rand(*shape, dtype=dtype), rand(ins, outs, *kernel, dtype=dtype), rand(out, dtype=dtype) if bias else None
    return Sample(*tensors, stride, padding, dilation, transposed, out_padding, groups)


def convolution_samples():
    for dtype in FLOATS:
        yield conv((2, 3, 12, 9), 5, (3, 3), padding=1, dtype=dtype)
        yield conv((1, 33, 8, 8), 40, (1, 1), bias=False, dtype=dtype)
        yield conv((1, 4, 17, 14), 6, (3, 2), stride=[2, 1], padding=[2, 0], dilation=[1, 3], groups=2, dtype=dtype)
        yield conv((2, 8, 10, 10), 8, (3, 3), stride=2, padding=1, groups=8, dtype=dtype)
        yield conv((2, 5, 21), 7, (4,), stride=2, padding=3, dilation=2, dtype=dtype)
        yield conv((2, 3, 5, 7), 4, (3, 3), stride=2, padding=1, out_padding=1, dtype=dtype)
        yield conv((2, 4, 9), 6, (4,), stride=3, padding=1, out_padding=2, groups=2, bias=False, dtype=dtype)
    yield conv((1, 3, 32, 32), 8, (16, 16), stride=16)
    yield conv((3, 2, 50), 4, (40,), padding=20)
    yield conv((2, 2, 90), 4, (40,), stride=10)
    yield conv((20, 6, 5, 5), 4, (5, 5))
    yield conv((20, 6, 5, 3), 4, (2, 2), stride=[1, 2])
    yield conv((1, 3, 4, 5), 2, (2, 3), stride=[3, 2], dilation=[1, 2], out_padding=[2, 1])
    yield conv((2, 2, 3, 3), 2, (1, 2), padding=1, out_padding=0)
    yield conv((2, 2, 3, 3), 3, (3, 3), stride=[1, 3], padding=[0, 4], out_padding=0)
    yield conv((1, 8, 4, 4), 8, (2, 2), stride=2, groups=4, out_padding=0)
    x = conv((1, 3, 6, 6), 2, (3, 3))
    yield Sample(*x.args[:3], [2], [1], [1], False, [0], 1)
    yield conv((1, 2, 4, 4), 2, (3, 3), dtype=torch.float64)
    yield Sample(x.args[0].bfloat16(), *x.args[1:])
    yield conv((1, 2, 4, 4, 4), 2, (3, 3, 3))


@lower(
    aten.convolution.default,
    samples=convolution_samples,
    when=[
        Dtype(("input", "weight", "bias"), FLOATS),
        SameDtype(("input", "weight", "bias")),
        Rank("input", (3, 4), because="ttnn.conv2d takes images; it has no conv3d but an experimental one"),
    ],
)
def convolution(tt, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    dims = len(input.shape) - 2
    lists = [list(v) * (dims // len(v)) for v in (stride, padding, dilation, output_padding)]
    if dims == 2:
        return of_images(tt, input, weight, bias, *lists, transposed, groups)
    # A sequence is an image of one row, or of one column.
    at = 1 if weight.shape[2] > LONG_KERNEL else 0
    for values, of_one in zip(lists, (1, 0, 1, 0), strict=True):
        values.insert(at, of_one)
    input, weight = (tt.reshape(t, [*t.shape[: at + 2], 1, *t.shape[at + 2 :]]) for t in (input, weight))
    out = of_images(tt, input, weight, bias, *lists, transposed, groups)
    return tt.reshape(out, [size for dim, size in enumerate(out.shape) if dim != at + 2])


def of_images(tt, images, weight, bias, stride, padding, dilation, output_padding, transposed, groups):
    x = tt.permute(images, [0, 2, 3, 1])
    weight = tt.to_layout(weight, tt.ROW_MAJOR_LAYOUT)
    if bias is not None:
        bias = tt.to_layout(tt.reshape(bias, [1, 1, 1, bias.shape[0]]), tt.ROW_MAJOR_LAYOUT)
    if transposed:
        x = conv_transpose2d(tt, x, weight, bias, stride, padding, dilation, output_padding, groups)
    else:
        x = conv2d(tt, x, weight, bias, stride, [(p, p) for p in padding], dilation, groups)
    return tt.permute(x, [0, 3, 1, 2])


def conv2d(tt, x, weight, bias, stride, padding, dilation, groups):
    """ttnn.conv2d of a batch (N, H, W, C), padded before and after, in calls that ttnn accepts."""
    n, height, width, channels = x.shape
    outs, _, *kernel = weight.shape
    rows, columns = (
        (size + sum(sides) - d * (k - 1) - 1) // s + 1
        for size, sides, d, k, s in zip((height, width), padding, dilation, kernel, stride, strict=True)
    )
    (top, bottom), (left, right) = padding
    whole_column = (kernel[1], stride, left, right) == (1, [1, 1], 0, 0)
    computed = columns if whole_column else max(columns, FEWEST_COLUMNS)
    right += (computed - columns) * stride[1]
    images = max(1, BATCH // (height * width * -(-channels // 32) * 32))
    parts = []
    for start in range(0, n, images):
        part = cut(tt, x, 0, start, min(start + images, n))
        out = tt.conv2d(
            input_tensor=part,
            weight_tensor=weight,
            bias_tensor=bias,
            device=tt.device,
            in_channels=channels,
            out_channels=outs,
            batch_size=part.shape[0],
            input_height=height,
            input_width=width,
            kernel_size=tuple(kernel),
            stride=tuple(stride),
            padding=(top, bottom, left, right),
            dilation=tuple(dilation),
            groups=groups,
            dtype=x.dtype,
            conv_config=tt.Conv2dConfig(config_tensors_in_dram=True),
            compute_config=accurate(tt),
        )
        parts.append(tt.reshape(out, [part.shape[0], rows, computed, outs]))
    out = tt.concat(parts, 0) if len(parts) > 1 else parts[0]
    return cut(tt, out, 2, 0, columns)


def conv_transpose2d(tt, x, weight, bias, stride, padding, dilation, output_padding, groups):
    """The convolution of `x`, with zeros between its elements, with the kernel turned round.

    ttnn.conv_transpose2d takes weights of the host only, and does not cut large images to what fits its cores.
    """
    ins, outs, *kernel = weight.shape
    weight = tt.permute(tt.reshape(weight, [groups, ins // groups, outs, *kernel]), [0, 2, 1, 3, 4])
    weight = tt.reshape(weight, [groups * outs, ins // groups, *kernel])
    x = tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)
    sides = []
    for i in range(2):
        x = spaced(tt, x, i + 1, stride[i])
        weight = turned(tt, weight, i + 2)
        before = dilation[i] * (kernel[i] - 1) - padding[i]
        sides.append((before, before + output_padding[i]))
    added = [(max(before, 0), max(after, 0)) for before, after in sides]
    out = conv2d(tt, x, weight, bias, [1, 1], added, dilation, groups)
    for i, (before, after) in enumerate(sides):
        out = cut(tt, out, i + 1, max(-before, 0), out.shape[i + 1] - max(-after, 0))
    return out


def spaced(tt, x, dim, step):
    """`x` in row-major layout with `step - 1` zeros between its elements along a dimension."""
    shape = list(x.shape)
    size, rest = shape[dim], shape[dim + 1 :]
    if 1 in (step, size):
        return x
    each = tt.reshape(x, [prod(shape[: dim + 1]), 1, *rest])
    each = tt.pad(each, [(0, 0), (0, step - 1), *[(0, 0)] * len(rest)], 0)
    return cut(tt, tt.reshape(each, [*shape[:dim], size * step, *rest]), dim, 0, (size - 1) * step + 1)


def turned(tt, x, dim):
    """`x` with a dimension in reverse order."""
    size = x.shape[dim]
    return tt.concat([cut(tt, x, dim, i, i + 1) for i in reversed(range(size))], dim) if size > 1 else x
