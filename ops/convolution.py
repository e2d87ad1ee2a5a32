"""Convolutions over one and two dimensions, also grouped and transposed."""

from __future__ import annotations

from math import prod

import torch

from ..apart import batch
from ..conditions import FLOATS, AtLeast, Check, Rank, SameDtype
from ..images import Image, rows, unfolded
from ..meta import intern
from ..on_demand import OnDemand
from ..pytorch_private import suggest_memory_format
from ..registry import lower
from ..samples import Sample, rand
from ..specs import ChannelsLast, Tensor, Weight
from ._convolution_sizes import form_of
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cut, shape_of

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16
ONLY = "PyTorch takes no others"

# Rows with a longer kernel do not fit the cores; as a column they do.
LONG_KERNEL = 32


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
    yield conv((3, 1, 128, 128), 2, (3, 3), stride=4, padding=1)
    yield conv((3, 2, 50), 4, (40,), padding=20)
    yield conv((2, 2, 90), 4, (40,), stride=10)
    yield conv((20, 6, 5, 5), 4, (5, 5))
    yield conv((20, 6, 5, 3), 4, (2, 2), stride=[1, 2])
    yield conv((1, 3, 4, 5), 2, (2, 3), stride=[3, 2], dilation=[1, 2], out_padding=[2, 1])
    yield conv((2, 2, 3, 3), 2, (1, 2), padding=1, out_padding=0)
    yield conv((2, 2, 3, 3), 3, (3, 3), stride=[1, 3], padding=[0, 4], out_padding=0)
    yield conv((1, 8, 4, 4), 8, (2, 2), stride=2, groups=4, out_padding=0)
    x = conv((1, 3, 6, 6), 2, (3, 3))
    image, weight, *rest = x.args
    yield Sample(image.contiguous(memory_format=torch.channels_last), weight, *rest)
    yield Sample(image, weight.contiguous(memory_format=torch.channels_last), *rest)
    sequence, weight, *rest = conv((2, 5, 21), 7, (3,)).args
    yield Sample(sequence.mT.contiguous().mT, weight, *rest)
    yield Sample(sequence, weight.mT.contiguous().mT, *rest)
    yield Sample(*x.args[:3], [2], [1], [1], False, [0], 1)
    yield conv((1, 2, 4, 4), 2, (3, 3), dtype=torch.float64)
    yield Sample(x.args[0].bfloat16(), *x.args[1:])
    yield conv((1, 2, 4, 4, 4), 2, (3, 3, 3))
    yield conv((1, 3, 6, 6), 2, (3, 3), padding=[0, -1])
    yield conv((1, 3, 6, 6), 2, (3, 3), out_padding=[0, -1], stride=2)
    yield conv((1, 3, 6, 6), 2, (3, 3), stride=[3, 2], out_padding=[2, 2])
    yield conv((1, 3, 6, 6), 2, (3, 3), stride=[1, 0])
    yield conv((1, 3, 6, 6), 2, (3, 3), dilation=[0, 1])
    yield Sample(*x.args[:3], [1], [1, 1, 1], [1], False, [0], 1)
    yield Sample(image, rand(2, 4, 3, 3), *x.args[2:])
    yield Sample(image, weight, rand(2, 1), *x.args[3:])


def as_on_cpu(call, outputs):
    """The output channels-last if the image or the kernel is; a sequence's format does not count."""
    weight = call["weight"].on_meta()
    tensors = [weight.unsqueeze(2)] if weight.ndim == 3 else [weight, call["input"].on_meta()]
    if not any(t.ndim == 4 and suggest_memory_format(t) is torch.channels_last for t in tensors):
        return outputs
    (out,) = outputs
    shape = with_one(out.shape, 0) if out.ndim == 3 else out.shape
    image = torch.empty(shape, device="meta", memory_format=torch.channels_last)
    return [intern(out.dtype, out.shape, (image.squeeze(2) if out.ndim == 3 else image).stride())]


def uneven(call):
    dims = call["input"].ndim - 2
    lists = {name: call[name] for name in ("stride", "padding", "dilation", "output_padding")}
    return next((f"{name} {value}" for name, value in lists.items() if len(value) not in (1, dims)), None)


def of_each_dim(dims, *settings):
    """Lists of a number for each dimension, where a list of one number stands for all."""
    return [list(numbers) * (dims // len(numbers)) for numbers in settings]


def too_wide(call):
    settings = (call[name] for name in ("stride", "dilation", "output_padding"))
    strides, dilations, paddings = of_each_dim(call["input"].ndim - 2, *settings)
    wide = any(p >= max(s, d) for p, s, d in zip(paddings, strides, dilations, strict=True))
    return f"output_padding {call['output_padding']}" if call["transposed"] and wide else None


def misfit(call):
    """What does not fit together of the shapes of input, weight and bias."""
    image, weight, groups = call["input"], call["weight"], call["groups"]
    bias = call["bias"] if "bias" in call.arguments else None  # a gradient has none
    if weight.ndim != image.ndim:
        return f"a weight of rank {weight.ndim} for an input of rank {image.ndim}"
    first, second = weight.shape[:2]
    ins, outs = (first, second * groups) if call["transposed"] else (second * groups, first)
    if groups < 1 or first % groups or image.shape[1] != ins:
        return f"{image.shape[1]} channels in {groups} groups, for {weight}"
    return f"a bias {bias}" if bias is not None and bias.shape != (outs,) else None


# What a convolution's arguments, and those of its gradients, have to be.
USUAL = [
    Rank("input", (3, 4), because="ttnn.conv2d takes images; it has no conv3d but an experimental one"),
    AtLeast("stride", 1, because=ONLY),
    AtLeast("padding", 0, because=ONLY),
    AtLeast("dilation", 1, because=ONLY),
    AtLeast("output_padding", 0, because=ONLY),
    Check("one number, or one for each dimension", uneven, because=ONLY),
    Check("output_padding below the stride or the dilation", too_wide, because=ONLY),
    Check("channels as the weight has them", misfit, because=ONLY),
]


@lower(
    aten.convolution.default,
    samples=convolution_samples,
    outputs=as_on_cpu,
    takes={
        "input": ChannelsLast(FLOATS, first=True),
        "weight": Weight(FLOATS, row_major=True, on_demand=True),
        "bias": Tensor(FLOATS, row_major=True),
    },
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("input", "weight", "bias")), *USUAL],
    apart=batch("input"),
)
def convolution(tt, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    dims = len(input.shape) - 2
    stride, padding, dilation, output_padding = of_each_dim(dims, stride, padding, dilation, output_padding)
    one, images = None, input
    if dims == 1:
        # A sequence is an image of one row, or of one column.
        one = 1 if weight.shape[2] > LONG_KERNEL else 0
        shape = tuple(with_one(input.shape, one))
        images = Image(
            input.value if input.folded else tt.reshape(input.value, list(unfolded(shape))), shape, input.folded
        )
        for values, of_one in ((stride, 1), (padding, 0), (dilation, 1), (output_padding, 0)):
            values.insert(one, of_one)
    kernel = to_kernel(tt, weight, one, transposed, groups)
    row = None if bias is None else tt.prepared(bias, "row", lambda: tt.reshape(bias, [1, 1, 1, bias.shape[0]]))
    if transposed:
        out = conv_transpose2d(tt, images, kernel, row, stride, padding, dilation, output_padding, groups)
    else:
        out = conv2d(tt, images, kernel, row, stride, [(p, p) for p in padding], dilation, groups)
    if one is None:
        return out
    shape = tuple(size for dim, size in enumerate(out.shape) if dim != one + 2)
    return Image(out.value if out.folded else tt.reshape(out.value, list(unfolded(shape))), shape, out.folded)


def with_one(shape, one):
    """A sequence's shape as an image's, with one row (0) or one column (1)."""
    sizes = list(shape)
    return [*sizes[: one + 2], 1, *sizes[one + 2 :]]


def to_kernel(tt, weight, one, transposed, groups):
    """The weight as ttnn.conv2d takes it; one that comes on demand does so still."""
    if one is None and not transposed:
        return weight
    if not isinstance(weight, OnDemand):
        return turned_kernel(tt, weight, one, transposed, groups)
    form = (one, transposed, groups)
    source = tt.prepared(weight, f"convolution kernel {form}", object)
    sizes = list(weight.shape if one is None else with_one(weight.shape, one))
    if transposed:
        sizes[:2] = [sizes[1] * groups, sizes[0] // groups]
    return weight.turned(tuple(sizes), source, lambda value: turned_kernel(tt, value, *form))


def turned_kernel(tt, weight, one, transposed, groups):
    """A sequence's weight as an image's; that of a transposed convolution turned round."""
    if one is not None:
        weight = tt.reshape(weight, with_one(weight.shape, one))
    if not transposed:
        return weight
    ins, outs, *sizes = weight.shape
    weight = tt.permute(tt.reshape(weight, [groups, ins // groups, outs, *sizes]), [0, 2, 1, 3, 4])
    weight = tt.reshape(weight, [groups * outs, ins // groups, *sizes])
    return turned(tt, turned(tt, weight, 2), 3)


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


def conv_transpose2d(tt, x, kernel, bias, stride, padding, dilation, output_padding, groups):
    """The convolution of `x`, with zeros between its elements, with the kernel turned round.

    ttnn.conv_transpose2d takes weights of the host only, and does not cut large images to what fits its cores.
    """
    value = tt.to_layout(as_shape(tt, x.value, unfolded(x.shape)), tt.ROW_MAJOR_LAYOUT)
    sides = []
    for i, size in enumerate(list(kernel.shape)[2:]):
        value = spaced(tt, value, i + 1, stride[i])
        before = dilation[i] * (size - 1) - padding[i]
        sides.append((before, before + output_padding[i]))
    added = [(max(before, 0), max(after, 0)) for before, after in sides]
    images = Image(value, (*x.shape[:2], *list(value.shape)[1:3]), folded=False)
    out = conv2d(tt, images, kernel, bias, [1, 1], added, dilation, groups)
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


def turned(tt, x, dim):
    """`x` with a dimension in reverse order."""
    size = x.shape[dim]
    return tt.concat([cut(tt, x, dim, i, i + 1) for i in reversed(range(size))], dim) if size > 1 else x
