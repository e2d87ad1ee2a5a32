"""Functions of two tensors that ttnn has in parts: signs copied, NaN passed over, logarithms of sums and products."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..conditions import FLOATS, NUMBERS
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import together
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    FITS,
    chain,
    filled,
    first_strides,
    in_float32,
    int32,
    is_number,
    two_tensors,
)

aten = torch.ops.aten

PAIR = ("self", "other")
FLOATING = together(PAIR, FLOATS)
NAN = math.nan

_abs_and_neg = chain("ABS", "NEG")
_log2_of_1_and_power = chain(
    *("ABS", ("MUL_UNARY_SFPU", -math.log(2)), ("EXP", 0.0), "LOG1P", ("MUL_UNARY_SFPU", 1 / math.log(2)))
)


def odd_pairs():
    odd = torch.tensor([NAN, math.inf, -math.inf, 0.0, -0.0, 1.0])
    for dtype in FLOATS:
        yield Sample(odd[:, None].to(dtype), odd[None].to(dtype))


def products():
    yield from two_tensors(-0.5, 4.0)()
    yield from odd_pairs()


def products_by_number():
    yield Sample(rand(5, 7), 2.5)
    yield Sample(rand(5, 7, dtype=BF16), 3)
    yield Sample(torch.tensor([0.0, NAN, math.inf]), math.inf)
    yield Sample(rand(5, 7).double(), 2.5)


def products_of_number():
    for value in (2.5, 0, -1):
        yield Sample(value, rand(5, 7, low=-0.5))
        yield Sample(value, torch.tensor([NAN, math.inf, -1.0, 0.0, -2.0]))
    yield Sample(2, rand(5, 7, dtype=BF16, low=-0.5))
    yield Sample(2.5, rand(5, 7).double())


@lower(aten.special_xlog1py.self_scalar, samples=products_of_number, takes=FLOATING, chip=DENORMALS_ARE_ZERO)
@lower(aten.special_xlog1py.other_scalar, samples=products_by_number, takes=FLOATING, chip=DENORMALS_ARE_ZERO)
@lower(aten.special_xlog1py.default, samples=products, takes=FLOATING, outputs=first_strides, chip=DENORMALS_ARE_ZERO)
def xlog1py(tt, self, other):
    def made(x, y):
        return tt.where(tt.eqz(x), tt.where(tt.isnan(y), y, 0.0), tt.multiply(x, tt.log1p(y)))

    return in_float32(tt, made, filled(tt, self, other), filled(tt, other, self))


def signed():
    yield from two_tensors()()
    yield Sample(rand(5, 7), torch.tensor([[0.0], [-0.0], [-math.inf], [math.inf], [-1.0]]))


def signed_by_number():
    for value in (2.5, -3, 0.0, -0.0, -math.inf):
        yield Sample(rand(5, 7), value)
        yield Sample(rand(2, 3, 40, dtype=BF16), value)
    yield Sample(rand(5, 7).double(), 2.5)


@lower(aten.copysign.Scalar, samples=signed_by_number, takes=FLOATING)
@lower(aten.copysign.Tensor, samples=signed, takes=FLOATING, outputs=first_strides)
def copysign(tt, self, other):
    if is_number(other):
        return _abs_and_neg(tt, self) if math.copysign(1.0, other) < 0 else tt.abs(self)
    return tt.where(tt.signbit(other), _abs_and_neg(tt, self), tt.abs(self))


def extremes():
    yield from two_tensors(integers=True)()
    yield from odd_pairs()


def lower_extreme(op, name, beside, strictly):
    @lower(op, samples=extremes, takes=together(PAIR, NUMBERS), outputs=first_strides, chip=DENORMALS_ARE_ZERO)
    def extreme(tt, self, other):
        if self.dtype == tt.int32:
            return getattr(tt, name)(self, other)
        # Of two zeros CPU takes the first one, whatever its sign, but the second one in bfloat16.
        compare = strictly if self.dtype == tt.bfloat16 else beside
        takes_first = tt.logical_or(getattr(tt, compare)(self, other), tt.isnan(other))
        return tt.where(takes_first, self, other)


lower_extreme(aten.fmax.default, "maximum", "ge", "gt")
lower_extreme(aten.fmin.default, "minimum", "le", "lt")


def sums_of_powers():
    yield from two_tensors()()
    yield Sample(rand(5, 7, low=-100.0, high=100.0), rand(5, 7, low=-100.0, high=100.0))
    yield from odd_pairs()


@lower(aten.logaddexp2.default, samples=sums_of_powers, takes=FLOATING, outputs=first_strides, chip=DENORMALS_ARE_ZERO)
def logaddexp2(tt, self, other):
    def made(x, y):
        apart = tt.where(tt.eq(x, y), 0.0, tt.subtract(x, y))  # two equal infinities are not apart
        return tt.add(tt.maximum(x, y), _log2_of_1_and_power(tt, apart))

    return in_float32(tt, made, self, other)


BITS = 32
SHIFTED: Any = together(PAIR, (torch.int32,))


def shifts():
    yield Sample(int32(5, 7), int32(5, 7, low=0))
    yield Sample(int32(33, 40), int32(40, low=0))
    yield Sample(torch.tensor([-5, 7, 2**31 - 1, -(2**31)], dtype=torch.int32), int32(6, 1, low=-3))
    yield Sample(int32(1, 4), torch.tensor([[31], [32], [33], [-1]], dtype=torch.int32))
    yield Sample(ints(5, 7), ints(7))


def shifts_by_number():
    for value in (0, 3, 31, 32, -1):
        yield Sample(int32(5, 7), value)
        yield Sample(torch.tensor([-5, 7, 2**31 - 1, -(2**31)], dtype=torch.int32), value)
    yield Sample(int32(5, 7), 2**40)
    yield Sample(ints(5, 7), 3)


def shifted_left(tt, self, other):
    if is_number(other):
        return tt.bitwise_left_shift(self, int(other)) if 0 <= other < BITS else tt.zeros_like(self)
    within = tt.multiply(tt.ge(other, 0), tt.lt(other, BITS))
    made = tt.bitwise_left_shift(self, tt.clamp(other, min=0, max=BITS - 1))
    return tt.multiply(made, within)


def shifted_right(tt, self, other):
    """With the sign bit moved in. Where PyTorch is given no number of bits, it shifts all out, too."""
    if is_number(other):
        return tt.bitwise_right_shift(self, int(other) if 0 <= other < BITS else BITS - 1)
    bits = tt.where(tt.ge(other, 0), tt.clamp(other, max=BITS - 1), BITS - 1)
    return tt.bitwise_right_shift(self, bits)


for shift, tensors, numbers in (
    (shifted_left, aten.bitwise_left_shift.Tensor, aten.bitwise_left_shift.Tensor_Scalar),
    (shifted_right, aten.bitwise_right_shift.Tensor, aten.bitwise_right_shift.Tensor_Scalar),
    (shifted_left, aten.__lshift__.Tensor, aten.__lshift__.Scalar),
    (shifted_right, aten.__rshift__.Tensor, aten.__rshift__.Scalar),
):
    lower(tensors, samples=shifts, takes=SHIFTED)(shift)
    lower(numbers, samples=shifts_by_number, takes=SHIFTED, when=[FITS])(shift)
