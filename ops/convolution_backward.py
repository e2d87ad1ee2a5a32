"""Gradients of convolutions: of the image, of the kernel and of the bias."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..images import Image, unfolded
from ..on_demand import on_device
from ..registry import lower
from ..samples import Sample, rand
from ..specs import ChannelsLast, Weight
from .convolution import ONLY, USUAL, conv2d, conv_transpose2d, of_each_dim, to_kernel, with_one
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, cut, permuted, reduce, shape_of, widen

aten = torch.ops.aten

IMAGE, KERNEL, BIAS = range(3)

# So many bytes of patches are held at once; of larger images they are multiplied row by row of the kernel.
PATCHES = 2**28


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
    yield gradients((1, 2, 4, 4, 4), 2, (3, 3, 3))
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


@lower(
    aten.convolution_backward.default,
    samples=samples,
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
        found = reduce(tt, "sum", as_shape(tt, widen(tt, grad), [prod(list(grad.shape)[:3]), grad.shape[3]]), 0)
        made.append(cast(tt, found, input.dtype))
    return made


def as_rows(tt, x, one):
    """A sequence or an image with its channels last: (N, H, W, C)."""
    return as_shape(tt, x.value, unfolded(x.shape if one is None else tuple(with_one(x.shape, one))))


def of_image(tt, grad, image, weight, one, stride, padding, dilation, transposed, groups):
    """The gradient of the image: the gradient goes back through the same kernel."""
    n, rows, columns, channels = shape_of(grad)
    grads, (height, width) = Image(grad, (n, channels, rows, columns), folded=False), shape_of(image)[1:3]
    sizes = [1] * (1 if one is not None else 0) + list(weight.shape)[2:]
    if not transposed and groups == 1 and stride == sizes and dilation == [1, 1] and not any(padding):
        return of_patches(tt, grad, weight, sizes, height, width)
    kernel = to_kernel(tt, weight, one, not transposed, groups)
    if transposed:
        found = conv2d(tt, grads, kernel, None, stride, [(p, p) for p in padding], dilation, groups)
        if found.shape[2:] == (height, width):
            return found
        value = cut(tt, as_shape(tt, found.value, unfolded(found.shape)), 1, 0, height)
        return Image(cut(tt, value, 2, 0, width), (*found.shape[:2], height, width), folded=False)
    reached = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip((rows, columns), stride, padding, dilation, sizes, strict=True)
    ]
    missing = [size - found for size, found in zip((height, width), reached, strict=True)]
    return conv_transpose2d(tt, grads, kernel, None, stride, padding, dilation, missing, groups)


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


def of_kernel(tt, moved, fixed, sizes, stride, padding, dilation, groups):
    """The gradient of the kernel: what of `moved`, at each place of the kernel, goes together with `fixed`.

    That is a product over all places of the image, and for a kernel of one channel each a sum of products. It comes as
    (columns, rows, outs, channels of one group).
    """
    channels, outs = moved.shape[3], fixed.shape[3]
    x = tt.to_layout(moved, tt.ROW_MAJOR_LAYOUT)
    if any(padding):
        x = tt.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], 0)
    places = prod(list(fixed.shape)[:3])
    at_once = sizes[0] if prod(sizes) * places * -(-channels // 32) * 128 <= PATCHES else 1
    rows = []
    for first in range(0, sizes[0], at_once):
        high = range(first, min(first + at_once, sizes[0]))
        taps = seen_by(
            tt,
            seen_by(tt, x, 1, high, stride[0], dilation[0], fixed.shape[1]),
            2,
            range(sizes[1]),
            stride[1],
            dilation[1],
            fixed.shape[2],
        )
        taps = tt.to_layout(tt.reshape(taps, [sizes[1] * len(high), places, channels]), tt.TILE_LAYOUT)
        found = products(tt, taps, as_shape(tt, fixed, [places, outs]), groups)
        rows.append(tt.reshape(found, [sizes[1], len(high), outs, channels // groups]))
    return rows[0] if len(rows) == 1 else tt.concat(rows, 1)


def as_image(tt, found, shape):
    """A kernel (columns, rows, outs, channels of one group) with its channels last.

    In tiles, the few rows and columns of (outs, channels, rows, columns) would take a hundred times their size.
    """
    columns, rows, outs, channels = found.shape
    if rows * columns > 1:
        found = permuted(tt, tt.to_layout(found, tt.ROW_MAJOR_LAYOUT), [2, 1, 0, 3])
    value = tt.reshape(found, [1, 1, outs * rows * columns, channels])
    return Image(tt.to_layout(value, tt.TILE_LAYOUT), shape)


def seen_by(tt, x, dim, kernel, stride, dilation, places):
    """What each place of the kernel along a dimension sees, one behind the other as batches."""
    parts = [cut(tt, x, dim, k * dilation, k * dilation + (places - 1) * stride + 1, stride) for k in kernel]
    return parts[0] if len(parts) == 1 else tt.concat(parts, 0)


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
