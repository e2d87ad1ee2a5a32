"""Averages of windows of volumes and their gradients: weighed sums along one dimension after the other."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Shape, Tensor
from ._taps import mean_windows, passed_back, windows_of
from ._weighed import MOST_GATHERED, held_at_once, weighed
from ._windows import windows
from .vocabulary import as_shape, at_most, cast, folded, reduce, widen

aten = torch.ops.aten

ONLY = "PyTorch takes no others"
TOO_MANY = "at most {} elements in windows"
AT_ONCE = "all windows are held at once"
DEFAULTS: list[Any] = [[], [0], False, True, None]
POOLS: tuple[Any, ...] = (
    ((2, 3, 4, 8, 9), [2, 3, 3], [1, 2, 2]),
    ((1, 2, 4, 7, 9), [2, 3, 2], [2, 2, 2], [1, 1, 1], True),
    ((1, 2, 4, 7, 9), [2, 3, 2], [2, 2, 2], [1, 1, 1], True, False),
    ((3, 4, 6, 33), [2], [], [0], False, True, 3),
)
ADAPTIVE: tuple[Any, ...] = (((2, 3, 4, 8, 9), [2, 4, 3]), ((1, 3, 5, 7, 6), [3, 5, 7]), ((3, 4, 5, 33), [1, 1, 1]))


def along_each(tt, x, sizes, make, arguments):
    """`x` with its last three dimensions of these sizes, each made of weighed sums; of each its own arguments."""
    x = folded(tt, x, 4)
    x = weighed(tt, x, -1, sizes[2], make, *arguments[2])
    x = weighed(tt, x, -2, sizes[1], make, *arguments[1])
    rows, deep, *places = list(x.shape)
    x = weighed(tt, as_shape(tt, x, [rows, deep, prod(places)]), -2, sizes[0], make, *arguments[0])
    return as_shape(tt, x, [rows, sizes[0], *places])


def held(shape, sizes, make, arguments):
    """How many elements the largest of the three gathers holds."""
    *outer, deep, high, _ = shape
    return max(
        held_at_once(tuple(shape), -1, sizes[2], make, *arguments[2]),
        held_at_once((*outer, deep, high, sizes[2]), -2, sizes[1], make, *arguments[1]),
        held_at_once((*outer, deep, sizes[1] * sizes[2]), -2, sizes[0], make, *arguments[0]),
    )


def sides_of(shape, call):
    return windows(list(shape)[-3:], call["kernel_size"], call["stride"], call["padding"], [1], call["ceil_mode"])


def weights(sides, count_include_pad):
    """What the windows along each dimension are made by."""
    return [(side.kernel, side.stride, side.padding, count_include_pad) for side in sides]


def pool_samples():
    for shape, *how in POOLS:
        yield Sample(rand(*shape), *how)
    yield Sample(rand(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d), [2, 2, 2])
    yield Sample(rand(1, 2, 4, 4, 4).double(), [2, 2, 2])
    yield Sample(rand(1, 1, 1, 1, 1).expand(1, 512, 4, 90, 90), [1, 40, 40], [1, 1, 1])


def gathered(call):
    sides = sides_of(call["self"].shape, call)
    return held(call["self"].shape, [side.places for side in sides], windows_of, weights(sides, True))


WIDE: dict[str, Any] = {
    "dtypes": (torch.float32,),
    "program_dtype": True,
    "because": "on CPU it is not implemented for bfloat16",
}


@lower(
    aten.avg_pool3d.default,
    samples=pool_samples,
    takes=Tensor(**WIDE),
    when=[at_most(MOST_GATHERED, TOO_MANY, gathered, because=AT_ONCE)],
)
def avg_pool3d(tt, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out):
    sides = windows(list(self.shape)[-3:], kernel_size, stride, padding, [1], ceil_mode)
    # With a divisor of its own, each element weighs 1 in a window, and the sum is divided.
    given = weights(sides, count_include_pad if divisor_override is None else None)
    x = along_each(tt, widen(tt, self), [side.places for side in sides], windows_of, given)
    x = x if divisor_override is None else tt.multiply(x, 1 / divisor_override)
    return cast(tt, as_shape(tt, x, out.shape), self.dtype)


def pool_gradients():
    for shape, *how in POOLS:
        made = aten.avg_pool3d(rand(*shape), *how)
        yield Sample(rand(*made.shape), rand(*shape), *how, *DEFAULTS[len(how) - 1 :])
    how = [[2, 2, 2], *DEFAULTS]
    yield Sample(rand(1, 2, 2, 2, 2).double(), rand(1, 2, 4, 4, 4).double(), *how)
    yield Sample(rand(1, 2, 2, 2, 1), rand(1, 2, 4, 4, 4), *how)
    one = rand(1, 1, 1, 1, 1)
    how = [[1, 40, 40], [1, 1, 1], *DEFAULTS[1:]]
    yield Sample(one.expand(1, 512, 4, 51, 51), one.expand(1, 512, 4, 90, 90), *how)


def other_windows(call):
    shape = call["self"].shape
    places = [side.places for side in sides_of(shape, call)]
    return None if call["grad_output"].shape == (*shape[:-3], *places) else str(call["grad_output"])


def passed(call):
    shape = call["self"].shape
    given = [(windows_of, *arguments) for arguments in weights(sides_of(shape, call), True)]
    return held(call["grad_output"].shape, shape[-3:], passed_back, given)


@lower(
    aten.avg_pool3d_backward.default,
    samples=pool_gradients,
    takes={"grad_output": Tensor(**WIDE), "self": Shape(**WIDE)},
    when=[
        Check("a gradient for each window", other_windows, because=ONLY),
        at_most(MOST_GATHERED, TOO_MANY, passed, because=AT_ONCE),
    ],
)
def avg_pool3d_backward(
    tt, grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    sizes = list(self.shape)[-3:]
    sides = windows(sizes, kernel_size, stride, padding, [1], ceil_mode)
    given = weights(sides, count_include_pad if divisor_override is None else None)
    x = along_each(tt, widen(tt, grad_output), sizes, passed_back, [(windows_of, *one) for one in given])
    x = x if divisor_override is None else tt.multiply(x, 1 / divisor_override)
    return cast(tt, as_shape(tt, x, self.shape), grad_output.dtype)


def adaptive_samples():
    for dtype in FLOATS:
        for shape, sizes in ADAPTIVE:
            yield Sample(rand(*shape, dtype=dtype), sizes)
    yield Sample(rand(1, 2, 4, 4, 4).double(), [2, 2, 2])
    yield Sample(rand(1, 1, 1, 1, 1).expand(1, 4096, 4, 90, 90), [2, 9, 7])


NO_ARGUMENTS: list[tuple] = [()] * 3


def adaptively(call):
    return held(call["self"].shape, call["output_size"], mean_windows, NO_ARGUMENTS)


@lower(
    aten._adaptive_avg_pool3d.default,
    samples=adaptive_samples,
    takes=FLOATS,
    when=[at_most(MOST_GATHERED, TOO_MANY, adaptively, because=AT_ONCE)],
)
def adaptive_avg_pool3d(tt, self, output_size, out):
    x = widen(tt, self)
    if list(output_size) == [1, 1, 1]:
        shape = list(x.shape)
        x = reduce(tt, "mean", as_shape(tt, x, [*shape[:-3], prod(shape[-3:])]), -1, keepdim=True)
    else:
        x = along_each(tt, x, list(output_size), mean_windows, NO_ARGUMENTS)
    return cast(tt, as_shape(tt, x, out.shape), self.dtype)


def adaptive_gradients():
    for dtype in FLOATS:
        for shape, sizes in ADAPTIVE:
            yield Sample(rand(*shape[:-3], *sizes, dtype=dtype), rand(*shape, dtype=dtype))
    yield Sample(rand(1, 2, 2, 2, 2).double(), rand(1, 2, 4, 4, 4).double())
    yield Sample(rand(1, 2, 2, 2, 2).bfloat16(), rand(1, 2, 4, 4, 4))
    yield Sample(rand(1, 1, 2, 2, 2), rand(1, 2, 4, 4, 4))
    one = rand(1, 1, 1, 1, 1)
    yield Sample(one.expand(1, 4096, 4, 90, 90), one.expand(1, 4096, 4, 9, 9))


def other_volumes(call):
    grad, given = call["grad_output"].shape, call["self"].shape
    return None if len(given) in (4, 5) and len(grad) == len(given) and grad[:-3] == given[:-3] else str(grad)


def adaptively_passed(call):
    return held(call["grad_output"].shape, call["self"].shape[-3:], passed_back, [(mean_windows,)] * 3)


@lower(
    aten._adaptive_avg_pool3d_backward.default,
    samples=adaptive_gradients,
    takes={"grad_output": FLOATS, "self": Shape(FLOATS)},
    when=[
        SameDtype(("grad_output", "self")),
        Check("volumes as in self", other_volumes, because=ONLY),
        at_most(MOST_GATHERED, TOO_MANY, adaptively_passed, because=AT_ONCE),
    ],
)
def adaptive_avg_pool3d_backward(tt, grad_output, self):
    sizes, x = list(self.shape)[-3:], widen(tt, grad_output)
    if list(x.shape)[-3:] == [1, 1, 1]:
        x = tt.expand(tt.multiply(x, 1 / prod(sizes)), tuple(self.shape))
    else:
        x = along_each(tt, x, sizes, passed_back, [(mean_windows,)] * 3)
    return cast(tt, as_shape(tt, x, self.shape), grad_output.dtype)
