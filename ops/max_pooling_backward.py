"""Gradients of max pools: each element looks which of the windows over it kept its position, as on a GPU."""

from __future__ import annotations

from itertools import product
from math import prod

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Shape
from ._resample import repeated
from ._windows import border, pad, windows
from .max_pooling import ROWS_PADDED, sides_of
from .vocabulary import at_most, one_number, torch_dtype

aten = torch.ops.aten

MOST_WINDOWS = 256
NAN, INF = float("nan"), float("inf")


def over_elements(tt, x, sides):
    """What lies over each element of the padded image: `x`, of one element per window, repeated by the strides.

    Row-major; with zeros where a window over the image would be, but is not.
    """
    widths = [(front(side), back(side)) for side in sides]
    x = pad(tt, x, widths)
    if sides[-1].stride > 1:
        x = transposed(tt, repeated(tt, transposed(tt, x), -2, sides[-1].stride))
    for dim, side in enumerate(sides[:-1], -len(sides)):
        x = repeated(tt, x, dim, side.stride)
    return x


def front(side):
    """How many windows there would be before the first, over the elements that the first one is over."""
    return max(side.overlap() - 1 - side.padding // side.stride, 0)


def back(side):
    """How many windows are missing behind the last one to have one start at, or before, each element."""
    return max(-(-(side.padding + side.size) // side.stride) - side.places, 0)


def transposed(tt, x):
    return tt.to_layout(tt.transpose(tt.to_layout(x, tt.TILE_LAYOUT), -2, -1), tt.ROW_MAJOR_LAYOUT)


def max_pool_backward(tt, grad_output, indices, sides):
    """The gradient of each element: that of the windows over it whose maximum it is, added up in the windows' order."""
    rank = len(grad_output.shape)
    outer = list(grad_output.shape)[: -len(sides)]
    grads, kept = (over_elements(tt, x, sides) for x in (grad_output, indices))
    own = tt.constant(
        border(tuple(side._replace(kernel=1, padding=0, places=1) for side in sides), rank, 0, None, torch.int32)
    )
    none = tt.constant(one_number(0.0, torch_dtype(tt, grad_output), rank))
    total = None
    # How many windows before the last one that starts at the element, or before it: the first window first.
    for behind in product(*(range(side.overlap() - 1, -1, -1) for side in sides)):
        starts = [(front(side) - n) * side.stride + side.padding for side, n in zip(sides, behind, strict=True)]
        stops = [start + side.size for start, side in zip(starts, sides, strict=True)]
        grad, position = (
            tt.to_layout(tt.slice(x, [0] * len(outer) + starts, outer + stops, [1] * rank), tt.TILE_LAYOUT)
            for x in (grads, kept)
        )
        taken = tt.where(tt.eq(position, own), grad, none)
        total = taken if total is None else tt.add(total, taken)
    return total


def gradients(dims):
    """Samples whose indices are the pool's own."""
    pool = torch.nn.functional.max_pool2d if dims == 2 else torch.nn.functional.max_pool3d

    def of(x, kernel, stride=(), padding=(0,), dilation=(1,), ceil_mode=False):
        y, where = pool(x.float(), kernel, stride or None, padding, dilation, ceil_mode, return_indices=True)
        return Sample(
            rand(*y.shape, dtype=x.dtype), x, kernel, list(stride), list(padding), list(dilation), ceil_mode, where
        )

    def samples():
        more = [4] * (dims - 2)
        for dtype in FLOATS:
            yield of(rand(2, 3, *more, 12, 9, dtype=dtype), [3] * dims, [2] * dims, [1] * dims)
            yield of(rand(2, 3, *more, 11, 9, dtype=dtype), [*more, 3, 2], [*more, 2, 1], ceil_mode=True)
            yield of(rand(1, 2, *more, 33, 40, dtype=dtype), [2] * dims)
            yield of(rand(3, *more, 9, 11, dtype=dtype), [2], [1], [1], [2])
        yield of(rand(3, *more, 9, 11), [3], [2], [1], [3], True)
        yield of(rand(2, 2, *more, 9, 11).round(), [3], [1], [1])
        yield of(rand(1, 2, *more, 8, 9), [2], [3])
        yield of(torch.full((1, 2, *more, 5, 5), -INF), [3] * dims, [2] * dims, [1] * dims)
        yield of(torch.where(rand(2, *more, 6, 7) > 1, NAN, rand(2, *more, 6, 7)), [3], [1])
        yield of(rand(1, 2, *more, 6, 6), [1], [2])
        refused = of(rand(1, 2, *more, 6, 6), [2])
        grad, x, *how, where = refused.args
        yield Sample(torch.where(grad > 0, INF, NAN), x, *how, where)
        yield Sample(grad.double(), x.double(), *how, where)
        yield Sample(grad.bfloat16(), x, *how, where)
        yield Sample(grad, x, *how, where.int())
        yield Sample(grad[..., 1:], x, *how, where)
        yield of(rand(1, 1, *more, 20, 20), [17] * dims if dims == 2 else [1, 17, 17], [1])
        yield Sample(
            rand(1, 1, *[1] * dims),
            rand(1, 1, *[1] * (dims - 1), WIDEST + 1),
            *([1] * (dims - 1) + [n] for n in (2, WIDEST + 1)),
            [0], [1], False, ints(1, 1, *[1] * dims, high=1),
        )  # fmt: skip

    return samples


WIDEST = ROWS_PADDED.limit


def lower_max_pool_backward(op, dims):
    def most_windows(call):
        return prod(side.overlap() for side in sides_of(call, dims))

    def other_places(call):
        places = [side.places for side in sides_of(call, dims)]
        shape = [*call["self"].shape[:-dims], *places]
        got = [list(call[name].shape) for name in ("grad_output", "indices")]
        return " and ".join(map(str, got)) if got != [shape, shape] else None

    @lower(
        op,
        samples=gradients(dims),
        takes={"grad_output": FLOATS, "self": Shape(FLOATS), "indices": (torch.int64,)},
        when=[
            SameDtype(("grad_output", "self")),
            ROWS_PADDED,
            Check("a gradient and an index for each window", other_places),
            at_most(
                MOST_WINDOWS,
                "an element is in at most {} windows",
                most_windows,
                because="it takes one slice for each",
            ),
        ],
    )
    def backward(tt, grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices):
        sides = windows(list(self.shape)[-dims:], kernel_size, stride, padding, dilation, ceil_mode)
        return max_pool_backward(tt, grad_output, indices, sides)


lower_max_pool_backward(aten.max_pool2d_with_indices_backward.default, 2)
lower_max_pool_backward(aten.max_pool3d_with_indices_backward.default, 3)


def adaptive_gradients(dims):
    """Samples whose indices are the pool's own."""
    pool = torch.nn.functional.adaptive_max_pool2d if dims == 2 else torch.nn.functional.adaptive_max_pool3d

    def of(x, output_size):
        y, where = pool(x.float(), output_size, return_indices=True)
        return Sample(rand(*y.shape, dtype=x.dtype), x, where)

    def samples():
        more = [4] * (dims - 2)
        for dtype in FLOATS:
            yield of(rand(2, 3, *more, 12, 9, dtype=dtype), [*more, 4, 3])
            yield of(rand(3, *more, 6, 40, dtype=dtype), [1] * (dims - 1) + [40])
        yield of(rand(2, 33, *more, 7, 7), [1] * dims)
        refused = of(rand(1, 2, *more, 6, 6), [2] * dims)
        grad, x, where = refused.args
        yield Sample(torch.where(grad > 0, INF, NAN), x, where)
        yield Sample(grad.double(), x.double(), where)
        yield Sample(grad.bfloat16(), x, where)
        yield Sample(grad, x, where.int())
        yield of(rand(1, 2, *more, 7, 6), [2] * (dims - 1) + [3])

    return samples


def lower_adaptive_max_pool_backward(op, dims):
    def uneven(call):
        x, grad, where = call["self"], call["grad_output"], call["indices"]
        sizes = list(zip(x.shape[-dims:], grad.shape[-dims:], strict=True)) if x.ndim == grad.ndim else [(1, 2)]
        fits = (grad.shape[:-dims], grad.shape) == (x.shape[:-dims], where.shape)
        return None if fits and not any(size % out for size, out in sizes) else f"{grad} and {where} of {x}"

    @lower(
        op,
        samples=adaptive_gradients(dims),
        takes={"grad_output": FLOATS, "self": Shape(FLOATS), "indices": (torch.int64,)},
        when=[
            SameDtype(("grad_output", "self")),
            Check(
                "sizes are multiples of the gradient's", uneven, because="windows of several sizes repeat no gradient"
            ),
        ],
    )
    def backward(tt, grad_output, self, indices):
        sizes, out = list(self.shape)[-dims:], list(grad_output.shape)[-dims:]
        kernel = [size // places for size, places in zip(sizes, out, strict=True)]
        return max_pool_backward(tt, grad_output, indices, windows(sizes, kernel, kernel, [0], [1], False))


lower_adaptive_max_pool_backward(aten.adaptive_max_pool2d_backward.default, 2)
lower_adaptive_max_pool_backward(aten.adaptive_max_pool3d_backward.default, 3)
