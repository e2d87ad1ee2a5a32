"""Gradients of average pools: each element gets its share of the windows that it lies in."""

from __future__ import annotations

from typing import Any

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Shape
from ._taps import mean_windows, passed_back, windows_of
from ._weighed import MOST_GATHERED, held_at_once, weighed
from ._windows import windows
from .vocabulary import at_most, cast, widen

aten = torch.ops.aten

ONLY = "PyTorch takes no others"


def pool_gradients():
    def of(x, *how):
        of_one = aten.avg_pool2d(x.narrow(-3, 0, 1), *how)  # all channels of the last sample take PyTorch a second
        made = of_one.expand(*x.shape[:-2], *of_one.shape[-2:])
        kernel, stride, padding, ceil_mode, count_include_pad, divisor = [*how, *DEFAULTS[len(how) :]]
        return Sample(
            rand(*made.shape, dtype=x.dtype), x, kernel, stride, padding, ceil_mode, count_include_pad, divisor
        )

    for dtype in FLOATS:
        yield of(rand(2, 3, 12, 9, dtype=dtype), [3, 3], [2, 2])
        yield of(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 2], [1, 1], True)
        yield of(rand(2, 3, 12, 9, dtype=dtype), [3, 2], [2, 2], [1, 1], True, False)
        yield of(rand(1, 2, 33, 40, dtype=dtype), [2, 2], [], [0], False, True, 3)
        yield of(rand(3, 9, 11, dtype=dtype), [3], [1], [1], False, False)
    yield of(rand(1, 2, 6, 6), [2, 2], [3, 3], [1, 1], True)
    yield of(rand(1, 2, 6, 6), [3, 3], [1, 1], [1, 1], False, False, -2)
    grad, x, *how = of(rand(1, 2, 6, 6), [2, 2]).args
    yield Sample(grad.double(), x.double(), *how)
    yield Sample(grad.bfloat16(), x, *how)
    yield Sample(grad[..., 1:], x, *how)
    yield of(rand(1, 1, 1, 1).expand(1, 512, 90, 90), [32, 32], [1, 1])


DEFAULTS: list[Any] = [[], [], [0], False, True, None]


def pools(call):
    """The windows along both dimensions, and which of their padding counts."""
    sizes = list(call["self"].shape)[-2:]
    return windows(sizes, call["kernel_size"], call["stride"], call["padding"], [1], call["ceil_mode"])


def other_windows(call):
    places = [side.places for side in pools(call)]
    grad = call["grad_output"]
    return None if grad.shape == (*call["self"].shape[:-2], *places) else str(grad)


def shares(side, count_include_pad):
    """What `weighed` makes the gradient along one dimension of."""
    return side.size, passed_back, windows_of, side.kernel, side.stride, side.padding, count_include_pad


def pooled(call):
    """How many elements the two gathers hold."""
    *outer, high, wide = call["grad_output"].shape
    rows, columns = (shares(side, call["count_include_pad"]) for side in pools(call))
    return max(held_at_once((*outer, high, wide), -1, *columns), held_at_once((*outer, high, columns[0]), -2, *rows))


TOO_MANY = "at most {} elements in windows"
AT_ONCE = "all windows are held at once"


@lower(
    aten.avg_pool2d_backward.default,
    samples=pool_gradients,
    takes={"grad_output": FLOATS, "self": Shape(FLOATS)},
    when=[
        SameDtype(("grad_output", "self")),
        Check("a gradient for each window", other_windows, because=ONLY),
        at_most(MOST_GATHERED, TOO_MANY, pooled, because=AT_ONCE),
    ],
)
def avg_pool2d_backward(
    tt, grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    sides = windows(list(self.shape)[-2:], kernel_size, stride, padding, [1], ceil_mode)
    # With a divisor of its own, each element weighs 1 in a window, and the sum is divided.
    rows, columns = (shares(side, count_include_pad if divisor_override is None else None) for side in sides)
    x = weighed(tt, weighed(tt, widen(tt, grad_output), -1, *columns), -2, *rows)
    return cast(tt, x if divisor_override is None else tt.multiply(x, 1 / divisor_override), grad_output.dtype)


def adaptive_gradients():
    for dtype in FLOATS:
        for shape, sizes in (
            ((2, 3, 12, 9), [4, 3]),
            ((2, 3, 12, 9), [5, 7]),
            ((3, 33, 40), [1, 1]),
            ((1, 3, 7, 7), [7, 12]),
        ):
            yield Sample(rand(*shape[:-2], *sizes, dtype=dtype), rand(*shape, dtype=dtype))
    yield Sample(rand(1, 2, 7, 4), rand(1, 2, 50, 44))
    yield Sample(rand(1, 2, 2, 2).double(), rand(1, 2, 6, 6).double())
    yield Sample(rand(1, 2, 2, 2).bfloat16(), rand(1, 2, 6, 6))
    yield Sample(rand(1, 1, 2, 2), rand(1, 2, 6, 6))
    yield Sample(rand(1, 1, 1, 1).expand(1, 4096, 90, 90), rand(1, 1, 1, 1).expand(1, 4096, 9, 9))


def other_images(call):
    grad, given = call["grad_output"].shape, call["self"].shape
    return None if len(given) in (3, 4) and grad[:-2] == given[:-2] and len(grad) == len(given) else str(grad)


def adaptively_pooled(call):
    """The same of an adaptive pool."""
    *outer, high, wide = call["grad_output"].shape
    rows, columns = call["self"].shape[-2:]
    return max(
        held_at_once((*outer, high, wide), -1, columns, passed_back, mean_windows),
        held_at_once((*outer, high, columns), -2, rows, passed_back, mean_windows),
    )


@lower(
    aten._adaptive_avg_pool2d_backward.default,
    samples=adaptive_gradients,
    takes={"grad_output": FLOATS, "self": Shape(FLOATS)},
    when=[
        SameDtype(("grad_output", "self")),
        Check("images as in self", other_images, because=ONLY),
        at_most(MOST_GATHERED, TOO_MANY, adaptively_pooled, because=AT_ONCE),
    ],
)
def adaptive_avg_pool2d_backward(tt, grad_output, self):
    rows, columns = list(self.shape)[-2:]
    x = widen(tt, grad_output)
    if list(x.shape)[-2:] == [1, 1]:
        x = tt.expand(tt.multiply(x, 1 / (rows * columns)), tuple(self.shape))
    else:
        x = weighed(tt, x, -1, columns, passed_back, mean_windows)
        x = weighed(tt, x, -2, rows, passed_back, mean_windows)
    return cast(tt, x, grad_output.dtype)
