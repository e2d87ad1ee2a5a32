"""Windows that slide over a tensor."""

from __future__ import annotations

from math import gcd, prod

import torch

from ..conditions import FLOATS, AtLeast, AtMost, Check, SizeAtMost
from ..registry import lower
from ..samples import Sample, rand
from ._taps import windows_over
from ._weighed import FEW_TAPS, weighed
from .pad import PADDED_ROW, constant_pad_nd
from .views import VIEWABLE, of
from .vocabulary import ROW, as_shape, at_most, cast, cut, moves_narrow, permuted, shape_of, widen

aten = torch.ops.aten


def unfold_samples():
    yield from of(
        [(8,), 0, 4, 2], [(8,), 0, 3, 1], [(3, 40), 1, 8, 8], [(9, 33), 0, 2, 3], [(2, 3, 8, 8), 2, 4, 4], [(), 0, 1, 1]
    )()
    yield Sample(rand(200), 0, 100, 50)
    yield Sample(rand(2, ROW + 1), 1, 2, 2)


UNFOLDED = [
    AtMost("size", 32, because="it takes one slice for each element of a window"),
    SizeAtMost("self", -1, ROW, because="ttnn.slice keeps rows in L1"),
]


@lower(aten.unfold_copy.default, samples=unfold_samples, takes=VIEWABLE, when=UNFOLDED)
@lower(aten.unfold.default, samples=unfold_samples, takes=VIEWABLE, when=UNFOLDED)
@moves_narrow
def unfold(tt, self, dimension, size, step):
    if not len(self.shape):
        return as_shape(tt, self, [1])
    dimension = dimension % len(self.shape)
    last = (self.shape[dimension] - size) // step * step
    # The i-th of every window, for each i; the windows are a new last dimension.
    return tt.stack([cut(tt, self, dimension, i, i + last + 1, step) for i in range(size)], len(self.shape))


def im2col_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 8, 9, dtype=dtype), [2, 3], [1, 1], [0, 0], [1, 1])
        yield Sample(rand(1, 2, 33, 40, dtype=dtype), [3, 3], [2, 1], [1, 2], [2, 3])
        yield Sample(rand(3, 8, 8, dtype=dtype), [4, 4], [1, 1], [0, 0], [4, 4])
    yield Sample(rand(1, 3, 8, 8).double(), [2, 2], [1, 1], [0, 0], [1, 1])
    yield Sample(rand(1, 1, 16, 16), [9, 9], [1, 1], [0, 0], [1, 1])
    yield Sample(rand(1, 1, 1, PADDED_ROW + 1), [1, 2], [1, 1], [0, 0], [1, 1])
    yield Sample(rand(1, 3, 8, 8), [2, 2], [1, 1], [0, -1], [1, 1])


def kernel_places(call):
    return call["kernel_size"][0] * call["kernel_size"][1]


@lower(
    aten.im2col.default,
    samples=im2col_samples,
    takes=FLOATS,
    when=[
        AtLeast("padding", 0, because="PyTorch takes no others"),
        at_most(
            64,
            "a kernel of at most {} places",
            kernel_places,
            because="it takes one slice for each place of the kernel",
        ),
        SizeAtMost("self", -1, PADDED_ROW // 2, because="ttnn.pad keeps rows in L1"),
    ],
)
def im2col(tt, self, kernel_size, dilation, padding, stride):
    (rows, columns), (high, wide) = padding, kernel_size
    image = constant_pad_nd(tt, self, [columns, columns, rows, rows], 0)
    *batch, channels, height, width = image.shape
    axis = len(batch) + 1

    def seen_by(image, dim, place, extent, side):
        """What one row or column of the kernel sees, wherever the kernel stands."""
        steps = (extent - dilation[side] * (kernel_size[side] - 1) - 1) // stride[side]
        start = place * dilation[side]
        return cut(tt, image, dim, start, start + steps * stride[side] + 1, stride[side])

    strips = [seen_by(image, axis, i, height, 0) for i in range(high)]
    places = [seen_by(strip, axis + 1, j, width, 1) for strip in strips for j in range(wide)]
    seen = tt.stack(places, axis)
    blocks = seen.shape[-1] * seen.shape[-2]
    return tt.reshape(seen, [*batch, channels * high * wide, blocks])


def col2im_samples():
    def of(image, *how):
        """The windows of an image, to be put together again."""
        return Sample(aten.im2col(image, *how), list(image.shape[-2:]), *how)

    for dtype in FLOATS:
        yield of(rand(2, 3, 8, 9, dtype=dtype), [2, 3], [1, 1], [0, 0], [1, 1])
        yield of(rand(1, 2, 33, 40, dtype=dtype), [3, 3], [2, 1], [1, 2], [2, 3])
        yield of(rand(3, 8, 8, dtype=dtype), [4, 4], [1, 1], [0, 0], [4, 4])
    yield of(rand(2, 3, 5, 6), [2, 2], [1, 1], [0, 0], [2, 2])
    yield of(rand(1, 3, 3, 4), [1, 2], [1, 3], [1, 1], [1, 1])
    yield of(rand(2, 3, 5, 7), [1, 1], [1, 1], [0, 0], [1, 1])
    yield of(rand(1, 2, 3, 8), [1, 1], [1, 1], [2, 0], [4, 3])
    yield of(rand(1, 3, 8, 8).double(), [2, 2], [1, 1], [0, 0], [1, 1])
    yield of(rand(1, 1, 16, 16), [9, 9], [1, 1], [0, 0], [1, 1])
    yield Sample(rand(1, 12, 35), [8, 8], [2, 2], [1, 1], [0, -1], [1, 1])


def windows_over_each(call):
    """In how many windows an element lies at most, along either dimension."""
    kernel, dilation, stride = (call[name] for name in ("kernel_size", "dilation", "stride"))
    return max(-(-k // (s // gcd(d, s))) for k, d, s in zip(kernel, dilation, stride, strict=True))


@lower(
    aten.col2im.default,
    samples=col2im_samples,
    takes=FLOATS,
    when=[
        AtLeast("padding", 0, because="PyTorch takes no others"),
        at_most(
            FEW_TAPS,
            "an element is in at most {} windows along each dimension",
            windows_over_each,
            because="it takes one gather for each",
        ),
    ],
)
def col2im(tt, self, output_size, kernel_size, dilation, padding, stride):
    *batch, folded, _ = shape_of(self)
    (high, wide), (height, width) = kernel_size, output_size
    rows, columns = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, d, p, s in zip(output_size, kernel_size, dilation, padding, stride, strict=True)
    )
    channels = folded // (high * wide)
    x = as_shape(tt, self, [prod(batch) * channels, high, wide, rows, columns])
    shape = [*batch, channels, height, width]
    if list(stride) == list(kernel_size) and (rows * high, columns * wide) == (height, width):
        return as_shape(tt, tt.permute(x, [0, 3, 1, 4, 2]), shape)
    x = permuted(tt, x, [0, 1, 3, 2, 4])
    x = widen(tt, as_shape(tt, x, [x.shape[0], high * rows, wide * columns]))
    for dim, side in ((-1, 1), (-2, 0)):
        x = weighed(
            tt, x, dim, output_size[side], windows_over, kernel_size[side], stride[side], padding[side], dilation[side]
        )
    return cast(tt, as_shape(tt, x, shape), self.dtype)


def unfold_backward_samples():
    def of(x, dim, size, step):
        """The gradient of windows of a tensor."""
        return Sample(torch.rand_like(x.unfold(dim, size, step)), list(x.shape), dim, size, step)

    for dtype in FLOATS:
        yield of(rand(3, 40, dtype=dtype), 1, 8, 8)
        yield of(rand(9, 33, dtype=dtype), 0, 4, 2)
        yield of(rand(2, 3, 8, 8, dtype=dtype), 2, 4, 3)
    yield of(rand(8), 0, 3, 1)
    yield of(rand(2, 9), -1, 2, 4)
    yield of(rand(), 0, 1, 1)
    yield of(rand(3, 40).double(), 1, 8, 8)
    yield of(rand(20), 0, 9, 1)
    yield Sample(rand(5, 3), [8], 0, 3, 1)


def other_windows(call):
    """The gradient, if it does not have the shape of the windows."""
    sizes, dim, size, step = list(call["input_sizes"]), call["dim"], call["size"], call["step"]
    rank = max(len(sizes), 1)
    whole = sizes or [1]
    if not -rank <= dim < rank or step < 1 or not 1 <= size <= whole[dim]:
        return f"windows of {size} in steps of {step} along dimension {dim} of {sizes}"
    wanted = list(whole)
    wanted[dim] = (whole[dim] - size) // step + 1
    wanted = wanted if sizes else []
    return None if call["grad_in"].shape == (*wanted, size) else str(call["grad_in"])


@lower(
    aten.unfold_backward.default,
    samples=unfold_backward_samples,
    takes=FLOATS,
    when=[
        Check("a gradient of the windows", other_windows, because="PyTorch reads memory that is none of it"),
        at_most(
            FEW_TAPS,
            "an element is in at most {} windows",
            lambda call: -(-call["size"] // max(call["step"], 1)),
            because="it takes one gather for each",
        ),
    ],
)
def unfold_backward(tt, grad_in, input_sizes, dim, size, step):
    if not input_sizes:
        return as_shape(tt, grad_in, [])
    rank = len(input_sizes)
    dim = dim % rank
    order = list(range(rank))
    order.insert(dim, rank)  # the first elements of all windows, then their second ones
    before, after, out = prod(input_sizes[:dim]), prod(input_sizes[dim + 1 :]), input_sizes[dim]
    x, places = widen(tt, permuted(tt, grad_in, order)), grad_in.shape[dim] * size
    shape = [before, places] if dim == rank - 1 else [before, places, after]
    x = weighed(tt, as_shape(tt, x, shape), 1 - len(shape), out, windows_over, size, step, 0, 1)
    return cast(tt, as_shape(tt, x, list(input_sizes)), grad_in.dtype)
