"""Arithmetic of two tensors, or of a tensor and a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..call import Call
from ..conditions import FLOATS, NUMBERS, Check
from ..meta import Meta
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..specs import together
from ..steps import Steps
from ._special import log1p_exp_of_minus_abs
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    FITS,
    NAN_IS_LOST,
    by_number,
    by_operand,
    direct_of_two,
    element,
    filled,
    first_strides,
    in_float32,
    int32,
    is_number,
    operand,
    two_tensors,
)

aten = torch.ops.aten

PAIR = ("self", "other")
LARGEST = torch.finfo(torch.float32).max


def scaled_tensors():
    yield from two_tensors(integers=True)()
    yield Sample(ints(5, 7, dtype=torch.uint8), rand(5, 7))
    for factor in (2, -0.5):
        yield Sample(rand(5, 7), rand(7), alpha=factor)
        yield Sample(rand(5, 7, dtype=BF16), rand(7), alpha=factor)
    yield Sample(int32(5, 7), int32(7), alpha=3)
    yield Sample(int32(5, 7), int32(7), alpha=2**40)


def add_samples():
    yield from scaled_tensors()
    yield from by_number(2.5, -3)()
    yield Sample(rand(5, 7), 3, alpha=0.5)
    yield Sample(rand(5, 7), rand(7), alpha=True)


def added_numbers():
    yield from by_number(2.5, 3)()
    yield Sample(rand(5, 7), 3, alpha=True)


def sub_samples():
    yield from add_samples()
    yield Sample(rand(5, 7), True)
    yield Sample(rand(5, 7), bools(7))


def rsub_samples():
    yield from scaled_tensors()
    yield Sample(rand(5, 7), bools(7))
    yield Sample(rand(5, 7), rand(7), alpha=True)


def subtracted_numbers():
    yield from by_number(2.5, 3)()
    yield Sample(rand(5, 7), 3, alpha=0.5)
    yield Sample(rand(5, 7), True)
    yield Sample(rand(5, 7), 3, alpha=True)


def mul_samples():
    yield from two_tensors(integers=True)()
    yield from by_number(2.5, -3)()
    yield Sample(ints(5, 7, dtype=torch.uint8), rand(5, 7))
    yield Sample(rand(5, 7), bools(7))
    yield Sample(bools(5, 7), bools(7))
    yield Sample(bools(5, 7), 2.5)


def _got_bool(call: Call) -> str | None:
    passed = call.passed or call.arguments  # promotion makes a bool tensor one of numbers
    for value in (passed[name] for name in PAIR):
        if isinstance(value, bool) or (isinstance(value, Meta) and value.dtype is torch.bool):
            return str(value)
    return None


def _bool_alpha(call: Call) -> str | None:
    return str(call["alpha"]) if isinstance(call["alpha"], bool) else None


ALPHA = Check("alpha is a number", _bool_alpha, because="PyTorch takes a bool for bool results only")
NO_BOOL = Check("no bool is subtracted", _got_bool, because="PyTorch raises")
ADDABLE = together(PAIR, NUMBERS)
MOVED = together(PAIR, (*NUMBERS, torch.bool))
MULTIPLIED = together(PAIR, (*NUMBERS, torch.bool), factor="other")
FLOATING = together(PAIR, FLOATS)


def summed(tt: Any, function: Callable[[Any, Any], Any], first: Any, second: Any, alpha: float) -> Any:
    """The function (a sum or a difference) of `first` and alpha times `second`, rounded once."""
    beside = second if is_number(first) else first
    first, second = element(tt, first, beside), element(tt, second, beside)
    if alpha == 1:
        return function(first, second)
    alpha = element(tt, alpha, beside)
    if beside.dtype != tt.bfloat16:
        return function(first, second * alpha if is_number(second) else tt.multiply(second, alpha))
    first = first if is_number(first) else tt.typecast(first, tt.float32)
    second = second * alpha if is_number(second) else tt.multiply(tt.typecast(second, tt.float32), alpha)
    return tt.typecast(function(first, second), tt.bfloat16)


def step_by_number(name: str, function: str) -> Steps:
    """The step of a tensor and a number, and the ttnn function of two tensors."""

    def step(constants: Mapping[str, Any]) -> tuple | None:
        value = next(constants[side] for side in PAIR if side in constants)
        plain = type(value) in (int, float) and abs(value) <= LARGEST and constants.get("alpha", 1) == 1
        return (name, float(value)) if plain else None

    return Steps(step, of_two=function)


SUMS, PRODUCTS = step_by_number("ADD_UNARY_SFPU", "add"), step_by_number("MUL_UNARY_SFPU", "multiply")


@lower(aten.add.Scalar, samples=added_numbers, takes=ADDABLE, when=[FITS, ALPHA], steps=SUMS)
@lower(aten.add.Tensor, samples=add_samples, takes=ADDABLE, when=[FITS, ALPHA], steps=SUMS)
def add(tt, self, other, alpha):
    return summed(tt, tt.add, self, other, alpha)


@lower(aten.sub.Scalar, samples=subtracted_numbers, takes=ADDABLE, when=[FITS, NO_BOOL, ALPHA])
@lower(
    aten.sub.Tensor,
    samples=sub_samples,
    takes=ADDABLE,
    when=[FITS, NO_BOOL, ALPHA],
    steps=Steps(of_two="subtract"),
)
def sub(tt, self, other, alpha):
    return summed(tt, lambda a, b: tt.subtract(filled(tt, a, b), b), self, other, alpha)


@lower(aten.rsub.Scalar, samples=subtracted_numbers, takes=ADDABLE, when=[FITS, NO_BOOL, ALPHA])
@lower(aten.rsub.Tensor, samples=rsub_samples, takes=ADDABLE, when=[FITS, NO_BOOL, ALPHA])
def rsub(tt, self, other, alpha):
    return summed(tt, lambda a, b: tt.rsub(b, a), other, self, alpha)


@lower(aten.mul.Scalar, samples=by_number(2.5, 3), takes=ADDABLE, when=[FITS], chip=DENORMALS_ARE_ZERO, steps=PRODUCTS)
@lower(aten.mul.Tensor, samples=mul_samples, takes=MULTIPLIED, when=[FITS], chip=DENORMALS_ARE_ZERO, steps=PRODUCTS)
def mul(tt, self, other):
    return by_operand(tt, tt.multiply, operand(tt, self, other), operand(tt, other, self))


# ttnn's function has aten's name and meaning; what its samples are drawn from.
OF_TWO_TENSORS = {"atan2": (-2.0, 2.0), "hypot": (-2.0, 2.0)}
ON_A_CHIP = {
    "atan2": "of 0 and a number below 1.2e-38, it is NaN",
    "hypot": f"numbers above 1.8e19 overflow, and NaN beside an infinity is NaN; {DENORMALS_ARE_ZERO}",
}
OF_ANY_ORDER = ("maximum", "minimum")


def extremum_samples():
    yield from two_tensors(integers=True)()
    yield Sample(bools(5, 7), bools(7))
    yield Sample(torch.tensor([float("nan"), 1.0, -float("inf")]), torch.tensor([1.0, float("nan"), 0.0]))


for name, domain in OF_TWO_TENSORS.items():
    op = getattr(aten, name).default
    lower(op, samples=two_tensors(*domain), takes=FLOATING, chip=ON_A_CHIP[name])(direct_of_two(name))

for name in OF_ANY_ORDER:
    lower(getattr(aten, name).default, samples=extremum_samples, takes=MOVED, chip=NAN_IS_LOST)(direct_of_two(name))


def xlogy_samples():
    yield from two_tensors(0.125, 4.0)()
    yield Sample(torch.zeros(4), torch.tensor([0.0, 1.0, 2.0, -1.0]))


def xlogy_by_number():
    yield Sample(rand(5, 7), 2.5)
    yield Sample(rand(5, 7, dtype=BF16), 3)
    yield Sample(rand(5, 7).double(), 2.5)


def xlogy_of_number():
    for sample in xlogy_by_number():
        yield Sample(*reversed([sample.args[0].abs(), sample.args[1]]))


@lower(aten.xlogy.Scalar_Self, samples=xlogy_of_number, takes=FLOATING, chip=DENORMALS_ARE_ZERO)
@lower(aten.xlogy.Scalar_Other, samples=xlogy_by_number, takes=FLOATING, chip=DENORMALS_ARE_ZERO)
@lower(aten.xlogy.Tensor, samples=xlogy_samples, takes=FLOATING, outputs=first_strides, chip=DENORMALS_ARE_ZERO)
def xlogy(tt, self, other):
    # ttnn's xlogy is 1e-3 off, and not 0 where a number is 0.
    x, y = filled(tt, self, other), filled(tt, other, self)
    where_zero = tt.where(tt.isnan(y), y, 0.0)
    return tt.where(tt.eqz(x), where_zero, tt.multiply(x, tt.log(y)))


def added_exponentials():
    yield from two_tensors()()
    yield Sample(rand(5, 7, low=-100.0, high=100.0), rand(5, 7, low=-100.0, high=100.0))
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, 1e30])
    yield Sample(odd[:, None], odd[None])


@lower(aten.logaddexp.default, samples=added_exponentials, takes=FLOATING, chip=NAN_IS_LOST)
def logaddexp(tt, self, other):
    def made(x, y):
        apart = tt.where(tt.eq(x, y), 0.0, tt.subtract(x, y))  # two equal infinities are not apart
        return tt.add(tt.maximum(x, y), log1p_exp_of_minus_abs(tt, apart))

    return in_float32(tt, made, self, other)
