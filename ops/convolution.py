"""Convolutions over one to three dimensions, also grouped and transposed."""

from __future__ import annotations

import torch

from ..apart import batch
from ..conditions import FLOATS, AtLeast, Check, Rank, SameDtype
from ..meta import intern
from ..pytorch_private import select_conv_backend, suggest_memory_format
from ..registry import lower
from ..samples import Sample, rand
from ..specs import ChannelsLast, Tensor, Weight
from ._convolution_calls import conv, conv_transpose, reshaped
from ._convolution_kernels import to_kernel, with_one
from .vocabulary import NAN_IS_A_NUMBER, shape_of

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16
ONLY = "PyTorch takes no others"

# Rows with a longer kernel do not fit the cores; as a column they do.
LONG_KERNEL = 32


def sample(shape, out, kernel, *, stride=1, padding=0, dilation=1, out_padding=None, groups=1, bias=True, dtype=None):
    """A sample; with `out_padding`, of a transposed convolution."""
    dims, transposed, dtype = len(kernel), out_padding is not None, dtype or torch.float32
    ins, outs = (shape[1], out // groups) if transposed else (out, shape[1] // groups)
    values = (stride, padding, dilation, out_padding or 0)
    stride, padding, dilation, out_padding = (v if isinstance(v, list) else [v] * dims for v in values)
    tensors = rand(*shape, dtype=dtype), rand(ins, outs, *kernel, dtype=dtype), rand(out, dtype=dtype) if bias else None
    return Sample(*tensors, stride, padding, dilation, transposed, out_padding, groups)


def convolution_samples():
    for dtype in FLOATS:
        yield sample((2, 3, 12, 9), 5, (3, 3), padding=1, dtype=dtype)
        yield sample((1, 33, 8, 8), 40, (1, 1), bias=False, dtype=dtype)
        yield sample((1, 4, 17, 14), 6, (3, 2), stride=[2, 1], padding=[2, 0], dilation=[1, 3], groups=2, dtype=dtype)
        yield sample((2, 8, 10, 10), 8, (3, 3), stride=2, padding=1, groups=8, dtype=dtype)
        yield sample((2, 5, 21), 7, (4,), stride=2, padding=3, dilation=2, dtype=dtype)
        yield sample((2, 3, 5, 7), 4, (3, 3), stride=2, padding=1, out_padding=1, dtype=dtype)
        yield sample((2, 4, 9), 6, (4,), stride=3, padding=1, out_padding=2, groups=2, bias=False, dtype=dtype)
        yield sample((2, 3, 5, 8, 7), 6, (3, 3, 2), stride=[1, 2, 1], padding=[1, 1, 0], dtype=dtype)
        yield sample((1, 4, 7, 5, 6), 8, (3, 2, 1), padding=[2, 0, 0], dilation=[2, 1, 1], groups=2, dtype=dtype)
        yield sample((2, 4, 3, 4, 5), 6, (3, 2, 3), stride=2, padding=1, out_padding=1, groups=2, dtype=dtype)
    yield sample((2, 8, 4, 5, 5), 8, (3, 3, 3), padding=1, groups=8)
    yield sample((1, 3, 4, 8, 8), 8, (2, 4, 4), stride=[2, 4, 4])
    yield sample((1, 5, 4, 6, 6), 4, (1, 3, 3), padding=[0, 1, 1], bias=False)
    yield sample((1, 2, 6, 3, 3), 3, (3, 1, 1), stride=[1, 1, 2], padding=[3, 0, 0], out_padding=0)
    yield sample((1, 3, 32, 32), 8, (16, 16), stride=16)
    yield sample((3, 1, 128, 128), 2, (3, 3), stride=4, padding=1)
    yield sample((3, 2, 50), 4, (40,), padding=20)
    yield sample((2, 2, 90), 4, (40,), stride=10)
    yield sample((20, 6, 5, 5), 4, (5, 5))
    yield sample((20, 6, 5, 3), 4, (2, 2), stride=[1, 2])
    yield sample((1, 3, 4, 5), 2, (2, 3), stride=[3, 2], dilation=[1, 2], out_padding=[2, 1])
    yield sample((2, 2, 3, 3), 2, (1, 2), padding=1, out_padding=0)
    yield sample((2, 2, 3, 3), 3, (3, 3), stride=[1, 3], padding=[0, 4], out_padding=0)
    yield sample((1, 8, 4, 4), 8, (2, 2), stride=2, groups=4, out_padding=0)
    x = sample((1, 3, 6, 6), 2, (3, 3))
    image, weight, *rest = x.args
    yield Sample(image.contiguous(memory_format=torch.channels_last), weight, *rest)
    yield Sample(image, weight.contiguous(memory_format=torch.channels_last), *rest)
    volume, weight, *rest = sample((1, 3, 4, 5, 6), 2, (3, 3, 3)).args
    yield Sample(volume.contiguous(memory_format=torch.channels_last_3d), weight, *rest)
    yield Sample(volume, weight.contiguous(memory_format=torch.channels_last_3d), *rest)
    sequence, weight, *rest = sample((2, 5, 21), 7, (3,)).args
    yield Sample(sequence.mT.contiguous().mT, weight, *rest)
    yield Sample(sequence, weight.mT.contiguous().mT, *rest)
    yield Sample(*x.args[:3], [2], [1], [1], False, [0], 1)
    yield sample((1, 2, 4, 4), 2, (3, 3), dtype=torch.float64)
    yield Sample(x.args[0].bfloat16(), *x.args[1:])
    yield Sample(rand(2, 3), rand(4, 3), None, [1], [0], [1], False, [0], 1)
    yield sample((1, 3, 6, 6), 2, (3, 3), padding=[0, -1])
    yield sample((1, 3, 6, 6), 2, (3, 3), out_padding=[0, -1], stride=2)
    yield sample((1, 3, 6, 6), 2, (3, 3), stride=[3, 2], out_padding=[2, 2])
    yield sample((1, 3, 6, 6), 2, (3, 3), stride=[1, 0])
    yield sample((1, 3, 6, 6), 2, (3, 3), dilation=[0, 1])
    yield Sample(*x.args[:3], [1], [1, 1, 1], [1], False, [0], 1)
    yield Sample(image, rand(2, 4, 3, 3), *x.args[2:])
    yield Sample(image, weight, rand(2, 1), *x.args[3:])


def makes_contiguous(call):
    """Whether PyTorch has a kernel of its own for volumes of these sizes, and not oneDNN's: its results are contiguous,
    whatever comes in. Only the sizes of the tensors count, so each has one element."""
    if call["weight"].ndim != 5:
        return False
    image, weight = (torch.empty(1, dtype=call[name].dtype).expand(call[name].shape) for name in ("input", "weight"))
    names = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
    return "Slow" in str(select_conv_backend(image, weight, None, *(call[name] for name in names), None))


def as_on_cpu(call, outputs):
    """The output channels-last if the input or the kernel is; a sequence's format does not count."""
    weight = call["weight"].on_meta()
    tensors = [weight.unsqueeze(2)] if weight.ndim == 3 else [weight, call["input"].on_meta()]
    form = torch.channels_last_3d if weight.ndim == 5 else torch.channels_last
    if not any(suggest_memory_format(t) is form for t in tensors) or makes_contiguous(call):
        return outputs
    (out,) = outputs
    shape = with_one(out.shape, 0) if out.ndim == 3 else out.shape
    image = torch.empty(shape, device="meta", memory_format=form)
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
    Rank("input", (3, 4, 5), because=ONLY),
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
        images = reshaped(tt, input, shape)
        for values, of_one in ((stride, 1), (padding, 0), (dilation, 1), (output_padding, 0)):
            values.insert(one, of_one)
    kernel = to_kernel(tt, weight, one, transposed, groups)
    sizes = shape_of(weight)[2:] if one is None else with_one(weight.shape, one)[2:]
    row = None if bias is None else tt.prepared(bias, "row", lambda: tt.reshape(bias, [1, 1, 1, bias.shape[0]]))
    if transposed:
        out = conv_transpose(tt, images, kernel, sizes, row, stride, padding, dilation, output_padding, groups)
    else:
        out = conv(tt, images, kernel, row, stride, [(p, p) for p in padding], dilation, groups)
    if one is None:
        return out
    shape = tuple(size for dim, size in enumerate(out.shape) if dim != one + 2)
    return reshaped(tt, out, shape)
