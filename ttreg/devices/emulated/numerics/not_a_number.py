"""How unary kernels treat NaN, and the sign of the NaN that they return: in bfloat16 it becomes an infinity."""

from __future__ import annotations

from typing import Any

import torch

from .bits import without_denormals
from .table import Compute, Values, of_floats

# These treat a NaN as an infinity of the same sign, in both dtypes.
_INFINITY = ("erf", "hardsigmoid", "hardtanh", "clamp", "sign", "clip")
# These do the same if the result is bfloat16, or if the NaN is negative.
_INFINITY_OF_BFLOAT16 = ("tanh", "exp", "exp2", "softplus")
_NEGATIVE_INFINITY = ("relu", "elu", "celu")
# These return a number for NaN.
_NUMBERS = {"reciprocal": 0.0, "sigmoid": -0.0}
_NUMBERS_OF_BFLOAT16 = {"gelu": 0.0, "hardswish": 0.0, "tan": 0.0}
# These return a positive NaN of their own. The others keep the sign, or use the sign of their argument.
_POSITIVE = (
    *("acos", "acosh", "asin", "atan", "atanh", "cos", "cosh", "erfc", "expm1"),
    *("log", "log10", "log1p", "log2", "rsqrt", "sin", "sqrt"),
)
_SIGN_OF_ARGUMENT = ("abs", "erfinv", "frac", "mish", "silu", "sinh", "softshrink")


def _infinities(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), torch.full_like(x, torch.inf).copysign(x), x)


@of_floats(*_INFINITY)
def _as_infinity(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    return golden(_infinities(x), *args, **given)


@of_floats(*_INFINITY_OF_BFLOAT16)
def _as_infinity_of_bfloat16(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    return golden(_infinities(x) if x.dtype is torch.bfloat16 else x, *args, **given)


@of_floats(*_NEGATIVE_INFINITY)
def _as_negative_infinity(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    return golden(torch.where(x.isnan() & x.signbit(), -torch.inf, x), *args, **given)


def _as_number(number: float, in_float32: bool) -> Compute:
    def compute(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = golden(x, *args, **given)
        return torch.where(x.isnan(), number, made) if in_float32 or x.dtype is torch.bfloat16 else made

    return compute


for _numbers, _in_float32 in ((_NUMBERS, True), (_NUMBERS_OF_BFLOAT16, False)):
    for _name, _number in _numbers.items():
        of_floats(_name)(_as_number(_number, _in_float32))


@of_floats(*_POSITIVE)
def _positive(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    made = golden(x, *args, **given)
    return torch.where(made.isnan(), torch.nan, made)


@of_floats(*_SIGN_OF_ARGUMENT)
def _sign_of_argument(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    made = golden(x, *args, **given)
    return torch.where(made.isnan(), torch.full_like(made, torch.nan).copysign(x.to(made.dtype)), made)


@of_floats("rsqrt")
def _of_denormals(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    is_denormal = (x > 0) & (without_denormals(x.float()) == 0)
    return torch.where(is_denormal, 3.565453645500855e19, golden(x, *args, **given))


@of_floats("gelu", "hardswish")
def _of_infinities(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    made = torch.where(x == torch.inf, torch.inf, golden(x, *args, **given))
    return torch.where(x == -torch.inf, 0.0, made) if x.dtype is torch.bfloat16 else made


@of_floats("erfc")
def _of_positive(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    made = golden(x, *args, **given)
    return torch.where(x.isnan() & ~x.signbit(), 2.9415805728738587e-12, made) if x.dtype is torch.float32 else made
