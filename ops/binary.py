"""Arithmetic of two tensors, or of a tensor and a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..call import Call
from ..conditions import FLOATS, NUMBERS, Check, Dtype, OneOf
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from .elementwise import BF16, FITS, filled, is_number, number, operand, two_tensors

aten = torch.ops.aten

INT32 = torch.int32
PAIR = ("self", "other")


def int32(*shape: int, low: int = -9) -> torch.Tensor:
    return ints(*shape, low=low, dtype=INT32)


def arithmetic_samples(**more: Any):
    """Samples of +, - and *; `more` is what a scaled overload is called with."""

    def samples():
        yield from two_tensors(integers=True)()
        yield Sample(rand(5, 7), 2.5)
        yield Sample(rand(5, 7, dtype=BF16), -3)
        yield Sample(int32(5, 7), 3)
        yield Sample(int32(5, 7), 2.5)
        yield Sample(rand(5, 7), bools(7))
        yield Sample(ints(5, 7, dtype=torch.uint8), rand(5, 7))
        yield Sample(int32(5, 7), 2**40)
        for scale in more.values():
            yield Sample(rand(5, 7), rand(7), **{name: scale for name in more})
            yield Sample(rand(5, 7, dtype=BF16), rand(7), **{name: scale for name in more})
            yield Sample(int32(5, 7), int32(7), **{name: int(scale) for name in more})

    return samples


def by_number(*numbers: float):
    """Samples of an op of a tensor and a number."""

    def samples():
        for value in numbers:
            yield Sample(rand(5, 7), value)
            yield Sample(rand(2, 3, 40, dtype=BF16), value)
            yield Sample(int32(5, 7), value)
        yield Sample(rand(), numbers[0])
        yield Sample(int32(5, 7), 2**40)
        yield Sample(rand(5, 7).double(), 2.5)

    return samples


ADDABLE = [Dtype(PAIR, NUMBERS), FITS]


def scaled(tt: Any, value: Any, alpha: float) -> Any:
    """The value (a tensor or a number) times alpha."""
    if alpha == 1:
        return value
    return value * alpha if is_number(value) else tt.multiply(value, number(tt, alpha, value))


@lower(aten.add.Scalar, samples=by_number(2.5, 3), promote=PAIR, when=ADDABLE)
@lower(aten.add.Tensor, samples=arithmetic_samples(alpha=2), promote=PAIR, when=ADDABLE)
def add(tt, self, other, alpha):
    return tt.add(operand(tt, self, other), operand(tt, scaled(tt, other, alpha), self))


@lower(aten.sub.Scalar, samples=by_number(2.5, 3), promote=PAIR, when=ADDABLE)
@lower(aten.sub.Tensor, samples=arithmetic_samples(alpha=2), promote=PAIR, when=ADDABLE)
def sub(tt, self, other, alpha):
    return tt.subtract(operand(tt, self, other), operand(tt, scaled(tt, other, alpha), self))


@lower(aten.rsub.Scalar, samples=by_number(2.5, 3), promote=PAIR, when=ADDABLE)
@lower(aten.rsub.Tensor, samples=arithmetic_samples(alpha=2), promote=PAIR, when=ADDABLE)
def rsub(tt, self, other, alpha):
    return tt.subtract(operand(tt, other, self), operand(tt, scaled(tt, self, alpha), other))


def mul_samples():
    yield from arithmetic_samples()()
    yield Sample(bools(5, 7), bools(7))


@lower(aten.mul.Scalar, samples=by_number(2.5, 3), promote=PAIR, when=ADDABLE)
@lower(
    aten.mul.Tensor, samples=mul_samples, promote=PAIR, when=[Dtype(PAIR, (*NUMBERS, torch.bool)), FITS]
)
def mul(tt, self, other):
    return tt.multiply(operand(tt, self, other), operand(tt, other, self))


def div_samples():
    yield from two_tensors(0.5, 2.0, integers=True)()
    yield Sample(rand(5, 7), 8)
    yield Sample(rand(5, 7, dtype=BF16), 0.3)
    yield Sample(int32(5, 7), 3)
    yield Sample(rand(5, 7), bools(7))
    yield Sample(torch.tensor([1.0, -1.0, 0.0]), 0)
    yield Sample(int32(5, 7), int32(5, 7, low=1))


@lower(aten.div.Scalar, samples=by_number(2.5, 3), promote=PAIR, when=ADDABLE)
@lower(aten.div.Tensor, samples=div_samples, promote=PAIR, when=[Dtype(PAIR, NUMBERS)])
def div(tt, self, other):
    self, other = (floating(tt, value) for value in (self, other))
    return tt.divide(operand(tt, self, other), operand(tt, other, self))


def floating(tt: Any, value: Any) -> Any:
    """The value, with integers in the dtype that torch.float32 is carried in."""
    return tt.typecast(value, tt.carrier(torch.float32)) if not is_number(value) and value.dtype == tt.int32 else value


def _got_no_divisor(call: Call) -> str | None:
    other = call["other"]
    integers = any(not meta.dtype.is_floating_point for _, meta in call.tensors(*PAIR))
    if not integers or call.arguments.get("rounding_mode", "floor") is None:
        return None
    return None if is_number(other) and other != 0 else str(other)


DIVISOR = Check(
    "integers are divided by a number other than 0",
    _got_no_divisor,
    because="PyTorch raises for a 0 in an integer divisor, and ttnn does not",
)


def divisions(*modes: str | None, at_the_end: tuple = ()):
    """Samples of a division with each rounding mode (None for ops that have no such argument)."""

    def samples():
        for mode in modes:
            more = {} if mode is None else {"rounding_mode": mode}
            yield from two_tensors(0.5, 8.0, **more)()
            for divisor in (3, -2.5, 0.5):
                yield Sample(rand(5, 7, low=-9.0, high=9.0), divisor, **more)
                yield Sample(rand(2, 3, 40, dtype=BF16, low=-9.0, high=9.0), divisor, **more)
            yield Sample(int32(5, 7), 4, **more)
            yield Sample(int32(5, 7), -4, **more)
            yield Sample(int32(5, 7), 2.5, **more)
            yield Sample(int32(5, 7), 0, **more)
            yield Sample(int32(5, 7), int32(5, 7, low=1), **more)
            yield Sample(int32(5, 7), 2**40, **more)

    return samples


def by_rounding():
    yield from divisions("floor", "trunc")()
    yield from (Sample(*sample.args, rounding_mode=None) for sample in div_samples())
