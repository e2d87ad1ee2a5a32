"""Elementwise functions of one tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..conditions import FLOATS, NUMBERS
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..steps import always
from ._special import erfc, erfinv, log_gamma
from .vocabulary import BF16, DENORMALS_ARE_ZERO, direct, in_float32, of_reciprocal, one_tensor

aten = torch.ops.aten

# ttnn's function has aten's name and meaning; where the domain is not (-2, 2), what its samples are drawn from.
SAME_NAME: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("ceil", "cos", "cosh", "deg2rad", "erf", "exp", "exp2", "expm1", "floor"), (-2.0, 2.0)),
    **dict.fromkeys(("frac", "neg", "rad2deg", "round", "sign", "sin", "tan", "trunc"), (-2.0, 2.0)),
    "abs": (-2.0, 2.0),
    "asinh": (-8.0, 8.0),
    "atan": (-8.0, 8.0),
    "log": (0.125, 8.0),
    "log10": (0.125, 8.0),
    "log1p": (-0.5, 8.0),
    "log2": (0.125, 8.0),
    "rsqrt": (0.125, 8.0),
    "sqrt": (0.0, 8.0),
}
INTEGERS_TOO = ("abs", "neg")

OF_FAR_ANGLES = "numbers from a million on are off, from some millions on wrong, and from 1e10 on infinite"
ON_A_CHIP = {
    "erf": "NaN becomes 1",
    "sign": "NaN becomes 1 where PyTorch gives 0",
    **dict.fromkeys(("cos", "sin", "tan"), OF_FAR_ANGLES),
    **dict.fromkeys(("lgamma", "log", "log10", "log2"), DENORMALS_ARE_ZERO),
    "rsqrt": "it is 3.6e19 of numbers below 1.2e-38",
}

# ttnn's functions of these are off in the second or third digit, or in the tail.
COMPOSED = {"erfc": erfc, "erfinv": erfinv, "lgamma": log_gamma}
EDGES = {"erfc": (-4.0, 9.0), "erfinv": (-1.0, 1.0), "lgamma": (-3.75, 12.0)}  # a line between these is sampled, too

# In bfloat16, ttnn gives +inf where these are not defined; in float32 it gives NaN, as PyTorch does.
PARTLY_DEFINED = ("acos", "acosh", "asin", "atanh")

# The chip flushes small values to +0, and so it does -0, which PyTorch keeps: sinh in float32, tanh in bfloat16.
ODD = {"sinh": "float32", "tanh": "bfloat16"}

# The steps that these are in float32.
STEPS = {
    "exp": always("EXP", 0.0),
    "neg": always("NEG"),
    "rsqrt": always("RSQRT", 0.0),
    "tanh": always("TANH", 0.0),
}

TESTS = ("isinf", "isnan", "isneginf", "isposinf", "signbit")


def through_float32(name: str) -> Callable[[Any, Any], Any]:
    """The lowering to `ttnn.<name>` of the float32 values."""

    def unary(tt, self):
        return in_float32(tt, getattr(tt, name), self)

    unary.__name__ = name
    return unary


def composed(name: str) -> Callable[[Any, Any], Any]:
    """The lowering to calls for the float32 values."""

    def unary(tt, self):
        return in_float32(tt, lambda x: COMPOSED[name](tt, x), self)

    unary.__name__ = name
    return unary


def keeping_zeros(name: str, flushed: str) -> Callable[[Any, Any], Any]:
    """The lowering to `ttnn.<name>`, with the zeros of the tensor itself in the dtype where ttnn's lose their sign."""

    def unary(tt, self):
        result = getattr(tt, name)(self)
        return tt.where(self, result, self) if self.dtype == getattr(tt, flushed) else result

    unary.__name__ = name
    return unary


def and_integers(name: str):
    def samples():
        yield from one_tensor(*SAME_NAME[name])()
        yield Sample(ints(5, 7, low=-9, dtype=torch.int32))

    return samples


def out_of_domain(name: str):
    def samples():
        yield from one_tensor(*((1.0, 4.0) if name == "acosh" else (-0.9, 0.9)))()
        yield Sample(torch.tensor([-3.0, 0.0, 0.5, 1.0, 3.0]))
        yield Sample(torch.tensor([-3.0, 0.0, 0.5, 1.0, 3.0], dtype=BF16))

    return samples


def between(low: float, high: float):
    def samples():
        yield from one_tensor(max(low, -0.9), min(high, 8.0))()
        for dtype in FLOATS:
            yield Sample(torch.linspace(low, high, 64).to(dtype))
        yield Sample(torch.tensor([-1.0, -0.0, 0.0, 1e-8, 1.0, 1.0 - 1e-7, 2.0]))

    return samples


def special_values():
    for dtype in FLOATS:
        yield Sample(torch.tensor([[float("nan"), float("inf")], [-float("inf"), -0.5]], dtype=dtype))
    yield Sample(rand(5, 7))
    yield Sample(rand(5, 7).double())


for name, domain in SAME_NAME.items():
    integers_too = name in INTEGERS_TOO
    lower(
        getattr(aten, name).default,
        samples=and_integers(name) if integers_too else one_tensor(*domain),
        takes=NUMBERS if integers_too else FLOATS,
        chip=ON_A_CHIP.get(name, ""),
        steps=STEPS.get(name),
    )(direct(name))

for name, edges in EDGES.items():
    op = getattr(aten, name).default
    lower(op, samples=between(*edges), takes=FLOATS, chip=ON_A_CHIP.get(name, ""))(composed(name))

for name, flushed in ODD.items():
    lower(getattr(aten, name).default, samples=one_tensor(), takes=FLOATS, steps=STEPS.get(name))(
        keeping_zeros(name, flushed)
    )

for name in PARTLY_DEFINED:
    lower(getattr(aten, name).default, samples=out_of_domain(name), takes=FLOATS)(through_float32(name))

for name in TESTS:
    lower(getattr(aten, name).default, samples=special_values, takes=FLOATS)(direct(name))

lower(aten.sgn.default, samples=one_tensor(), takes=FLOATS, chip=ON_A_CHIP["sign"])(direct("sign"))


@lower(aten.reciprocal.default, samples=one_tensor(0.5, 2.0), takes=FLOATS, chip="1 / -inf is 0.0, not -0.0")
def reciprocal(tt, self):
    return of_reciprocal(tt, self)


def logical_not_samples():
    yield Sample(bools(5, 7))
    yield Sample(torch.tensor([0.0, 0.5, -0.0]))
    yield Sample(torch.tensor([0.0, 0.5, float("nan")], dtype=BF16))
    yield Sample(ints(5, 7, high=3, dtype=torch.int32))
    yield Sample(ints(5, 7, high=3))


@lower(
    aten.logical_not.default,
    samples=logical_not_samples,
    takes=(*FLOATS, torch.int32, torch.bool),
)
def logical_not(tt, self):
    return tt.eqz(self)  # ttnn's logical_not takes -0.0 for true


def bitwise_not_samples():
    yield Sample(bools(5, 7))
    yield Sample(ints(5, 7, low=-9, dtype=torch.int32))
    yield Sample(ints(5, 7))


@lower(aten.bitwise_not.default, samples=bitwise_not_samples, takes=(torch.int32, torch.bool))
def bitwise_not(tt, self):
    return tt.bitwise_not(self) if self.dtype == tt.int32 else tt.eqz(self)
