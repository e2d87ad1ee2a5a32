"""Ops that make tensors from nothing: constants for the device, others on the host, uploaded when it needs them."""

from __future__ import annotations

from operator import itemgetter

import torch

from ..call import Call
from ..conditions import FLOATS, INDICES, MOVABLE, UNSIGNED, Check
from ..meta import dtype_name
from ..registry import cpu_only, lower
from ..samples import Sample, ints, rand
from ..specs import Shape
from .vocabulary import CPU, MADE, PLACED, placed_elsewhere

aten = torch.ops.aten

FROM_NOTHING = "it has no input on the device; the result is uploaded when the device needs it"


def constant(tt, value, out):
    """A tensor of one value, made when the device needs it: what is written to it in between stays on the device."""
    return lambda: tt.constant(torch.full(out.shape, value, dtype=out.dtype), result=True)


def sized_samples(*value):
    """Samples of an op that makes a tensor of a size."""

    def samples():
        for dtype in FLOATS:
            yield Sample([4, 5], *value, dtype=dtype)
            yield Sample([2, 3, 33, 40], *value, dtype=dtype, device=CPU, pin_memory=False)
            yield Sample([], *value, dtype=dtype, layout=torch.strided)
        yield Sample([4, 5], *value)
        yield Sample([4, 5], *value, dtype=torch.float64)
        yield from placed_elsewhere([4, 5], *value, dtype=torch.float32)

    return samples


def lower_sized(op, value):
    @lower(op, samples=sized_samples(), when=MADE, number=lambda _: value)
    def sized(tt, size, dtype, layout, device, pin_memory, out):
        return constant(tt, value, out)


lower_sized(aten.zeros.default, 0)
lower_sized(aten.ones.default, 1)


@lower(aten.full.default, samples=sized_samples(-0.3), when=MADE, number=itemgetter("fill_value"))
def full(tt, size, fill_value, dtype, layout, device, pin_memory, out):
    return constant(tt, fill_value, out)


def of_no_float(call: Call) -> str | None:
    dtype = call["dtype"] or call["self"].dtype
    return dtype_name(dtype) if dtype not in FLOATS else None


LIKED = {"self": Shape((*MOVABLE, *UNSIGNED, *INDICES))}
LIKE_FLOATS = [
    Check("makes bfloat16 or float32", of_no_float, because="others are uploaded when they are needed"),
    *PLACED,
]


def like_samples(*more):
    """Samples of an op that makes a tensor beside another one."""

    def samples():
        for dtype in FLOATS:
            yield Sample(rand(4, 5, dtype=dtype), *more)
            yield Sample(rand(2, 3, 33, 40, dtype=dtype), *more, device=CPU, pin_memory=False)
            yield Sample(rand(dtype=dtype), *more, layout=torch.strided)
            yield Sample(ints(5, 7), *more, dtype=dtype)
        yield Sample(rand(4, 5), *more, dtype=torch.bfloat16)
        yield Sample(rand(4, 5).double(), *more)
        yield Sample(rand(4, 5), *more, dtype=torch.float64)
        yield from placed_elsewhere(rand(4, 5), *more)

    return samples


def lower_like(op, value):
    @lower(op, samples=like_samples(), takes=LIKED, when=LIKE_FLOATS, number=lambda _: value)
    def like(tt, self, dtype, layout, device, pin_memory, memory_format, out):
        # The memory format is a matter of strides, which are metadata.
        return constant(tt, value, out)


def lower_new(op, value):
    @lower(op, samples=like_samples([3]), takes=LIKED, when=LIKE_FLOATS, number=lambda _: value)
    def new(tt, self, size, dtype, layout, device, pin_memory, out):
        return constant(tt, value, out)


lower_like(aten.zeros_like.default, 0)
lower_like(aten.ones_like.default, 1)
lower_new(aten.new_zeros.default, 0)
lower_new(aten.new_ones.default, 1)


@lower(
    aten.full_like.default,
    samples=like_samples(2.5),
    takes=LIKED,
    when=LIKE_FLOATS,
    number=itemgetter("fill_value"),
)
def full_like(tt, self, fill_value, dtype, layout, device, pin_memory, memory_format, out):
    return constant(tt, fill_value, out)


@lower(
    aten.new_full.default,
    samples=like_samples([3, 40], -0.3),
    takes=LIKED,
    when=LIKE_FLOATS,
    number=itemgetter("fill_value"),
)
def new_full(tt, self, size, fill_value, dtype, layout, device, pin_memory, out):
    return constant(tt, fill_value, out)


cpu_only(aten.empty.memory_format, because=FROM_NOTHING, samples=lambda: [Sample([4, 5])])
cpu_only(aten.empty_strided.default, because=FROM_NOTHING, samples=lambda: [Sample([4, 5], [5, 1])])
cpu_only(aten.empty_like.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5))])
cpu_only(aten.new_empty.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5), [3])])
cpu_only(aten.new_empty_strided.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5), [3, 2], [2, 1])])


def made_samples(*calls):
    """Samples of an op that makes a tensor from numbers: each of the calls in each dtype, then what is refused."""

    def samples():
        for arguments in calls:
            for dtype in FLOATS:
                yield Sample(*arguments, dtype=dtype)
        yield Sample(*calls[0], dtype=torch.float32, device=CPU, pin_memory=False, layout=torch.strided)
        yield Sample(*calls[0])
        yield Sample(*calls[0], dtype=torch.float64)
        yield from placed_elsewhere(*calls[0], dtype=torch.float32)

    return samples


@lower(aten.scalar_tensor.default, samples=made_samples((2,), (-0.3,), (True,), (float("inf"),)), when=MADE)
def scalar_tensor(tt, s, dtype, layout, device, pin_memory, out):
    return constant(tt, s, out)


@lower(aten.eye.m, samples=made_samples((4, 5), (40, 3), (1, 33)), when=MADE)
def eye(tt, n, m, dtype, layout, device, pin_memory):
    return lambda: tt.constant(torch.eye(n, m, dtype=dtype), result=True)


@lower(aten.eye.default, samples=made_samples((4,), (33,)), when=MADE)
def square_eye(tt, n, dtype, layout, device, pin_memory):
    return eye(tt, n, n, dtype, layout, device, pin_memory)


@lower(
    aten.arange.start_step,
    samples=made_samples((2, 8, 3), (-1.5, 4, 0.3), (5, -40, -1), (0, 600, 7)),
    when=MADE,
)
def arange(tt, start, end, step, dtype, layout, device, pin_memory):
    return lambda: tt.constant(torch.arange(start, end, step, dtype=dtype), result=True)


@lower(aten.arange.start, samples=made_samples((2, 8), (-0.5, 40.25)), when=MADE)
def arange_from(tt, start, end, dtype, layout, device, pin_memory):
    return arange(tt, start, end, 1, dtype, layout, device, pin_memory)


@lower(aten.arange.default, samples=made_samples((8,), (33.5,)), when=MADE)
def arange_to(tt, end, dtype, layout, device, pin_memory):
    return arange(tt, 0, end, 1, dtype, layout, device, pin_memory)
