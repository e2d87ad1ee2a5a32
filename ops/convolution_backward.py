"""Gradients of convolutions: of the image, of the kernel and of the bias."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..images import Image, unfolded
from ..meta import in_rows
from ..on_demand import on_device
from ..registry import lower
from ..samples import Sample, rand
from ..specs import ChannelsLast, Weight
from ._convolution_calls import conv, conv_transpose
from ._convolution_kernels import to_kernel, with_one
from ._convolution_products import as_image, of_kernel
from .convolution import ONLY, USUAL, makes_contiguous, of_each_dim
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, cut, reduce, shape_of, widen

aten = torch.ops.aten

IMAGE, KERNEL, BIAS = range(3)


def gradients(shape, out, kernel, *, mask=(True, True, True), dtype=torch.float32, grad_dtype=None, **settings):
    """A sample; with `out_padding`, of a transposed convolution."""
    stride, padding, dilation, out_padding, groups = (
        settings.get(name, usual)
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("out_padding", None), ("groups", 1))
    )
    dims, transposed = len(kernel), out_padding is not None
    ins, outs = (shape[1], out // groups) if transposed else (out, shape[1] // groups)
    values = (stride, padding, dilation, out_padding or 0)
    stride, padding, dilation, out_padding = (v if isinstance(v, list) else [v] * dims for v in values)
    image, weight = rand(*shape, dtype=dtype), rand(ins, outs, *kernel, dtype=dtype)
    made = aten.convolution(image, weight, None, stride, padding, dilation, transposed, out_padding, groups)
    grad = rand(*made.shape, dtype=grad_dtype or dtype)
    return Sample(grad, image, weight, [out], stride, padding, dilation, transposed, out_padding, groups, list(mask))


def accepted():
    for dtype in FLOATS:
        yield gradients((2, 3, 12, 9), 5, (3, 3), padding=1, dtype=dtype)
        yield gradients((1, 33, 8, 8), 40, (1, 1), dtype=dtype)
        yield gradients(
            (1, 4, 17, 14), 6, (3, 2), stride=[2, 1], padding=[2, 0], dilation=[1, 3], groups=2, dtype=dtype
        )
        yield gradients((2, 8, 10, 10), 8, (3, 3), stride=2, padding=1, groups=8, dtype=dtype)
        yield gradients((2, 5, 21), 7, (4,), stride=2, padding=3, dilation=2, dtype=dtype)
        yield gradients((2, 3, 5, 7), 4, (3, 3), stride=2, padding=1, out_padding=1, dtype=dtype)
        yield gradients((2, 4, 9), 6, (4,), stride=3, padding=1, out_padding=2, groups=2, dtype=dtype)
        yield gradients((2, 3, 5, 8, 7), 6, (3, 3, 2), stride=[1, 2, 1], padding=[1, 1, 0], dtype=dtype)
        yield gradients((2, 4, 3, 4, 5), 6, (3, 2, 3), stride=2, padding=1, out_padding=1, groups=2, dtype=dtype)
    yield gradients((1, 4, 7, 5, 6), 8, (3, 2, 1), padding=[2, 0, 0], dilation=[2, 1, 1], groups=2)
    yield gradients((2, 8, 4, 5, 5), 8, (3, 3, 3), padding=1, groups=8)
    yield gradients((1, 3, 5, 8, 9), 8, (2, 4, 4), stride=[2, 4, 4])
    for mask in ([False, True, True], [True, False, False], [False, True, False], [True, True, False]):
        yield gradients((2, 4, 8, 8), 6, (3, 3), padding=1, groups=2, mask=mask)
        yield gradients((2, 4, 5, 5), 6, (3, 3), padding=1, out_padding=0, groups=2, mask=mask)
    grad, image, weight, _, *settings = gradients((1, 3, 6, 6), 2, (3, 3), mask=[True, True, False]).args
    yield Sample(grad, image, weight, [0], *settings)  # as it is traced for a convolution without a bias
    yield gradients((1, 3, 32, 32), 8, (16, 16), stride=16)
    yield gradients((2, 3, 35, 33), 8, (4, 2), stride=[4, 2], dtype=torch.bfloat16)
    yield gradients((2, 3, 11), 4, (3,), stride=3)
    yield gradients((2, 4, 6, 6), 8, (2, 3), groups=4, padding=[0, 1], mask=[False, True, True])
    yield gradients((3, 8, 5, 6), 8, (3, 3), stride=2, padding=1, out_padding=1, groups=8)
    yield gradients((3, 2, 50), 4, (40,), padding=20)
    yield gradients((1, 3, 4, 5), 2, (2, 3), stride=[3, 2], dilation=[1, 2], out_padding=[2, 1])


def refused():
    yield gradients((1, 2, 4, 4), 2, (3, 3), dtype=torch.float64)
    yield gradients((1, 2, 4, 4), 2, (3, 3), grad_dtype=torch.bfloat16)
    yield Sample(rand(2, 4), rand(2, 3), rand(4, 3), None, [1], [0], [1], False, [0], 1, [True, True, False])
    grad, image, weight, bias, *settings = gradients((1, 3, 6, 6), 2, (3, 3)).args
    stride, padding, dilation, transposed, output_padding, groups, mask = settings
    yield Sample(grad, image, weight, bias, stride, padding, dilation, True, [1, 1], groups, mask)
    yield Sample(grad, image, weight, bias, [0, 1], padding, dilation, transposed, output_padding, groups, mask)
    yield Sample(grad, image, weight, bias, stride, [-1, 0], dilation, transposed, output_padding, groups, mask)
    yield Sample(grad, image, weight, bias, stride, padding, [0, 1], transposed, output_padding, groups, mask)
    yield Sample(grad, image, weight, bias, stride, padding, dilation, transposed, [-1, 0], groups, mask)
    yield Sample(grad, image, weight, bias, [1, 1, 1], padding, dilation, transposed, output_padding, groups, mask)
    yield Sample(grad, image, rand(2, 4, 3, 3), bias, *settings)
    yield Sample(grad[:, :, 1:], image, weight, bias, *settings)
    yield Sample(grad, image, weight, [1], *settings)
    yield Sample(grad, image, weight, bias, stride, padding, dilation, transposed, [1, 0], groups, mask)


def samples():
    yield from accepted()
    yield from refused()


def other_gradient(call):
    """The gradient's shape, if it is not that of what the convolution gives."""
    image, weight, grad = call["input"], call["weight"], call["grad_output"]
    settings = (call[name] for name in ("stride", "padding", "dilation", "output_padding"))
    sizes = zip(image.shape[2:], weight.shape[2:], *of_each_dim(image.ndim - 2, *settings), strict=True)
    if call["transposed"]:
        channels = weight.shape[1] * call["groups"]
        wanted = [(size - 1) * s - 2 * p + d * (k - 1) + more + 1 for size, k, s, p, d, more in sizes]
    else:
        channels = weight.shape[0]
        wanted = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d, _ in sizes]
    return None if grad.shape == (image.shape[0], channels, *wanted) else str(grad)


def odd_bias(call):
    """Sizes of another bias than the convolution has."""
    outs = call["weight"].shape[1] * call["groups"] if call["transposed"] else call["weight"].shape[0]
    sizes = call["bias_sizes"]
    asked = call["output_mask"][BIAS] and sizes is not None  # else PyTorch does not look at them
    return str(list(sizes)) if asked and list(sizes) != [outs] else None


def needless(call):
    """Output padding, which only a transposed convolution has."""
    padded = any(call["output_padding"]) and not call["transposed"]
    return str(list(call["output_padding"])) if padded else None


def as_on_cpu(call, outputs):
    if not makes_contiguous(call):
        return outputs
    return [None if meta is None else in_rows(meta.dtype, meta.shape) for meta in outputs]


@lower(
    aten.convolution_backward.default,
    samples=samples,
    outputs=as_on_cpu,
    takes={
        "grad_output": ChannelsLast(FLOATS, first=True),
        "input": ChannelsLast(FLOATS, first=True),
        "weight": Weight(FLOATS, row_major=True, on_demand=True),
    },
    chip=NAN_IS_A_NUMBER,
    when=[
        SameDtype(("grad_output", "input", "weight")),
        *USUAL,
        Check("grad_output as the convolution gives it", other_gradient, because=ONLY),
        Check("a bias of a number for each output channel", odd_bias, because=ONLY),
        Check("output_padding for transposed ones alone", needless, because=ONLY),
    ],
)
def convolution_backward(
    tt,
    grad_output,
    input,
    weight,
    bias_sizes,
    stride,
    padding,
    dilation,
    transposed,
    output_padding,
    groups,
    output_mask,
):
    dims = len(input.shape) - 2
    stride, padding, dilation = of_each_dim(dims, stride, padding, dilation)
    one = 0 if dims == 1 else None
    if dims == 1:
        # A sequence is an image of one row.
        for values, of_one in ((stride, 1), (padding, 0), (dilation, 1)):
            values.insert(0, of_one)
    grad, image = (as_rows(tt, x, one) for x in (grad_output, input))
    grad = tt.to_layout(grad, tt.TILE_LAYOUT)
    made = []
    if output_mask[IMAGE]:
        found = of_image(tt, grad, image, weight, one, stride, padding, dilation, transposed, groups)
        value = found.value if found.folded else as_shape(tt, found.value, unfolded(input.shape))
        made.append(Image(value, input.shape, found.folded))
    if output_mask[KERNEL]:
        moved, fixed = (grad, tt.to_layout(image, tt.TILE_LAYOUT)) if transposed else (image, grad)
        sizes = [1] * (2 - dims) + list(weight.shape)[2:]
        found = of_kernel(tt, moved, fixed, sizes, stride, padding, dilation, groups)
        made.append(as_image(tt, cast(tt, found, input.dtype), tuple(weight.shape)))
    if output_mask[BIAS]:
        found = reduce(tt, "sum", as_shape(tt, widen(tt, grad), [prod(shape_of(grad)[:-1]), grad.shape[-1]]), 0)
        made.append(cast(tt, found, input.dtype))
    return made


def as_rows(tt, x, one):
    """A sequence or an image with its channels last, (N, H, W, C), or a volume, (N, D, H, W, C)."""
    return as_shape(tt, x.value, unfolded(x.shape if one is None else tuple(with_one(x.shape, one))))


def of_image(tt, grad, image, weight, one, stride, padding, dilation, transposed, groups):
    """The gradient of the image: the gradient goes back through the same kernel."""
    n, *places, channels = shape_of(grad)
    grads, wanted = Image(grad, (n, channels, *places), folded=False), shape_of(image)[1:-1]
    sizes = [1] * (1 if one is not None else 0) + shape_of(weight)[2:]
    as_they_are = not transposed and groups == 1 and len(sizes) == 2 and dilation == [1, 1] and not any(padding)
    if as_they_are and stride == sizes:
        return of_patches(tt, grad, weight, sizes, *wanted)
    kernel = to_kernel(tt, weight, one, not transposed, groups)
    if transposed:
        found = conv(tt, grads, kernel, None, stride, [(p, p) for p in padding], dilation, groups)
        if list(found.shape[2:]) == wanted:
            return found
        value = as_shape(tt, found.value, unfolded(found.shape))
        for dim, size in enumerate(wanted, 1):
            value = cut(tt, value, dim, 0, size)
        return Image(value, (*found.shape[:2], *wanted), folded=False)
    reached = [
        (count - 1) * s - 2 * p + d * (k - 1) + 1
        for count, s, p, d, k in zip(places, stride, padding, dilation, sizes, strict=True)
    ]
    missing = [size - found for size, found in zip(wanted, reached, strict=True)]
    return conv_transpose(tt, grads, kernel, sizes, None, stride, padding, dilation, missing, groups)


def of_patches(tt, grad, weight, sizes, height, width):
    """The gradient of an image that was cut into patches: each place of the gradient gives one of them."""
    (n, rows, columns, outs), channels = shape_of(grad), weight.shape[1]
    high, wide = sizes

    def patches_by_channel():
        kernel = tt.permute(tt.reshape(on_device(weight), [outs, channels, high * wide]), [0, 2, 1])
        return tt.to_layout(tt.reshape(kernel, [outs, high * wide * channels]), tt.TILE_LAYOUT)

    kernel = tt.prepared(weight, "a patch for each channel", patches_by_channel)
    grads = as_shape(tt, grad, [n * rows * columns, outs])
    made = tt.matmul(grads, kernel, compute_kernel_config=accurate(tt), dtype=grad.dtype)
    made = tt.reshape(tt.to_layout(made, tt.ROW_MAJOR_LAYOUT), [n * rows, columns, high, wide * channels])
    made = tt.reshape(tt.permute(made, [0, 2, 1, 3]), [n, rows * high, columns * wide, channels])
    behind = [(0, 0), (0, height - rows * high), (0, width - columns * wide), (0, 0)]
    made = tt.pad(made, behind, 0) if any(more for _, more in behind) else made
    value = tt.to_layout(tt.reshape(made, [1, 1, n * height * width, channels]), tt.TILE_LAYOUT)
    return Image(value, (n, channels, height, width))
