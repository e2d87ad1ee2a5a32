"""Division, with and without rounding, and its remainders."""

from __future__ import annotations

import functools
from typing import Any

import torch

from ..call import Call
from ..conditions import FLOATS, NUMBERS, Check
from ..registry import lower
from ..samples import Sample, bools, rand
from ..specs import together
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    FITS,
    by_number,
    by_operand,
    element,
    filled,
    first_strides,
    int32,
    is_number,
    operand,
    two_tensors,
)

aten = torch.ops.aten

PAIR = ("self", "other")

FAR_QUOTIENTS = f"quotients past 8388608, infinite operands and NaN give other numbers, or NaN; {DENORMALS_ARE_ZERO}"


def div_samples():
    yield from two_tensors(0.5, 2.0, integers=True)()
    yield Sample(rand(5, 7), 8)
    yield Sample(rand(5, 7, dtype=BF16), 0.3)
    yield Sample(int32(5, 7), 3)
    yield Sample(int32(5, 7), int32(5, 7, low=1))
    yield Sample(rand(5, 7), bools(7))
    yield Sample(torch.tensor([1.0, -1.0, 0.0]), 0)


def _is_exact(call: Call) -> bool:
    return call.arguments.get("rounding_mode") is None


QUOTIENT = together(PAIR, FLOATS, int_to_float=_is_exact)
QUOTIENT_OF_FACTORS = together(PAIR, FLOATS, int_to_float=_is_exact, factor="other")


@lower(aten.div.Scalar, samples=by_number(2.5, 3), takes=QUOTIENT, chip=DENORMALS_ARE_ZERO)
@lower(aten.div.Tensor, samples=div_samples, takes=QUOTIENT_OF_FACTORS, chip=DENORMALS_ARE_ZERO)
def div(tt, self, other):
    return by_operand(tt, tt.divide, filled(tt, self, other), operand(tt, other, self))


def _got_no_divisor(call: Call) -> str | None:
    """An integer division whose divisor may be 0."""
    other = call["other"]
    integers = not any(meta.dtype.is_floating_point for _, meta in call.tensors(*PAIR))
    rounded = call.arguments.get("rounding_mode", "floor") is not None
    return str(other) if integers and rounded and not (is_number(other) and other != 0) else None


DIVISOR = Check(
    "integers are divided by a number other than 0",
    _got_no_divisor,
    because="PyTorch raises if an integer divisor has a 0 in it, and ttnn does not",
)
DIVIDED = together(PAIR, NUMBERS)
BY_MODE = together(PAIR, NUMBERS, int_to_float=_is_exact, factor="other")
FLOORED = together(PAIR, NUMBERS, factor="other")
ROUNDED = [FITS, DIVISOR]


def divided_by_numbers(**more: Any):
    """Samples with numbers as divisors, accepted and refused."""

    def samples():
        for divisor in (3, -2.5, 0.5):
            yield Sample(rand(5, 7, low=-9.0, high=9.0), divisor, **more)
            yield Sample(rand(2, 3, 40, dtype=BF16, low=-9.0, high=9.0), divisor, **more)
        yield Sample(int32(5, 7), 4, **more)
        yield Sample(int32(5, 7), -4, **more)
        yield Sample(int32(5, 7), 2.5, **more)
        yield Sample(int32(5, 7), 0, **more)
        yield Sample(int32(5, 7), 2**40, **more)
        yield Sample(rand(5, 7).double(), 2.5, **more)

    return samples


def divided_by_tensors(**more: Any):
    """Samples with tensors as divisors, accepted and refused."""

    def samples():
        yield from two_tensors(0.5, 8.0, **more)()
        yield Sample(rand(5, 7, low=-9.0, high=9.0), rand(5, 7, low=-4.0, high=-0.5), **more)
        yield Sample(int32(5, 7), int32(5, 7, low=1), **more)

    return samples


def with_every_mode(*kinds: Any):
    def every_mode():
        for mode in ("floor", "trunc", None):
            for kind in kinds:
                yield from kind(rounding_mode=mode)()

    return every_mode


def both_kinds():
    yield from divided_by_tensors()()
    yield from divided_by_numbers()()


@lower(
    aten.div.Scalar_mode,
    samples=with_every_mode(divided_by_numbers),
    takes=BY_MODE,
    chip=FAR_QUOTIENTS,
    when=ROUNDED,
)
@lower(
    aten.div.Tensor_mode,
    samples=with_every_mode(divided_by_tensors, divided_by_numbers),
    takes=BY_MODE,
    chip=FAR_QUOTIENTS,
    outputs=first_strides,
    when=ROUNDED,
)
def div_mode(tt, self, other, rounding_mode):
    if rounding_mode is None:
        return div(tt, self, other)
    divide = functools.partial(tt.divide, rounding_mode=rounding_mode)
    return by_operand(tt, divide, filled(tt, self, other), operand(tt, other, self))


@lower(aten.floor_divide.Scalar, samples=divided_by_numbers(), takes=DIVIDED, when=ROUNDED, chip=FAR_QUOTIENTS)
@lower(
    aten.floor_divide.default,
    samples=both_kinds,
    takes=FLOORED,
    outputs=first_strides,
    when=ROUNDED,
    chip=FAR_QUOTIENTS,
)
def floor_divide(tt, self, other):
    return div_mode(tt, self, other, "floor")


@lower(aten.remainder.Scalar, samples=divided_by_numbers(), takes=DIVIDED, when=ROUNDED, chip=FAR_QUOTIENTS)
@lower(aten.remainder.Tensor, samples=divided_by_tensors(), takes=DIVIDED, when=[DIVISOR], chip=FAR_QUOTIENTS)
def remainder(tt, self, other):
    return tt.remainder(filled(tt, self, other), element(tt, other, self))


@lower(aten.fmod.Scalar, samples=divided_by_numbers(), takes=DIVIDED, when=ROUNDED, chip=FAR_QUOTIENTS)
@lower(aten.fmod.Tensor, samples=divided_by_tensors(), takes=DIVIDED, when=[DIVISOR], chip=FAR_QUOTIENTS)
def fmod(tt, self, other):
    return tt.fmod(filled(tt, self, other), element(tt, other, self))


def numbers_divided():
    for value in (7, -2.5):
        yield Sample(value, rand(5, 7, low=0.5, high=3.0))
        yield Sample(value, rand(2, 3, 40, dtype=BF16, low=0.5, high=3.0))
    yield Sample(7, int32(5, 7, low=1))


@lower(aten.remainder.Scalar_Tensor, samples=numbers_divided, takes={"other": FLOATS}, chip=FAR_QUOTIENTS)
def remainder_of_number(tt, self, other):
    return remainder(tt, self, other)
