"""What kernels of one operand make of NaN, and which sign a NaN has that they make: bfloat16 shows it as an infinity."""

from __future__ import annotations

from typing import Any

import torch

from .bits import without_denormals
from .table import Values, kernel

NEGATIVE = -torch.nan

# To these a NaN is an infinity of its sign, in both dtypes.
_INFINITY = ("erf", "hardsigmoid", "hardtanh", "clamp", "sign", "clip")
# To these too where the result is bfloat16, or where the NaN is negative.
_INFINITY_OF_BFLOAT16 = ("tanh", "exp", "exp2", "softplus")
_NEGATIVE_INFINITY = ("relu", "elu", "celu")
# A number comes of it.
_NUMBERS = {"reciprocal": 0.0, "sigmoid": -0.0}
_NUMBERS_OF_BFLOAT16 = {"gelu": 0.0, "hardswish": 0.0, "tan": 0.0}
# They make a NaN of their own, which is positive; the others keep the sign, or give that of their argument.
_POSITIVE = (
    *("acos", "acosh", "asin", "atan", "atanh", "cos", "cosh", "erfc", "expm1"),
    *("log", "log10", "log1p", "log2", "rsqrt", "sin", "sqrt"),
)
_SIGN_OF_ARGUMENT = ("abs", "erfinv", "frac", "mish", "silu", "sinh", "softshrink")


def _infinities(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), torch.full_like(x, torch.inf).copysign(x), x)


@kernel(*_INFINITY)
def _as_infinity(golden: Values) -> Values:
    return lambda x, *args, **given: golden(_infinities(x), *args, **given)


@kernel(*_INFINITY_OF_BFLOAT16)
def _as_infinity_in_bfloat16(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        return golden(_infinities(x) if x.dtype is torch.bfloat16 else x, *args, **given)

    return values


@kernel(*_NEGATIVE_INFINITY)
def _as_negative_infinity(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        return golden(torch.where(x.isnan() & x.signbit(), -torch.inf, x), *args, **given)

    return values


def _as_numbers(numbers: dict[str, float], in_float32: bool) -> None:
    for name, number in numbers.items():

        def make(golden: Values, number: float = number) -> Values:
            def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
                made = golden(x, *args, **given)
                is_so = x.isnan() if in_float32 or x.dtype is torch.bfloat16 else torch.tensor(False)
                return torch.where(is_so, number, made)

            return values

        kernel(name)(make)


_as_numbers(_NUMBERS, True)
_as_numbers(_NUMBERS_OF_BFLOAT16, False)


@kernel(*_POSITIVE)
def _positive(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = golden(x, *args, **given)
        return torch.where(made.isnan(), torch.nan, made)

    return values


@kernel(*_SIGN_OF_ARGUMENT)
def _sign_of_argument(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = golden(x, *args, **given)
        return torch.where(made.isnan(), torch.full_like(made, torch.nan).copysign(x.to(made.dtype)), made)

    return values


@kernel("rsqrt")
def _of_denormals(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        is_denormal = (x > 0) & (without_denormals(x.float()) == 0)
        return torch.where(is_denormal, 3.565453645500855e19, golden(x, *args, **given))

    return values


@kernel("gelu")
def _of_infinity(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = torch.where(x == torch.inf, torch.inf, golden(x, *args, **given))
        return torch.where(x == -torch.inf, 0.0, made) if x.dtype is torch.bfloat16 else made

    return values


@kernel("hardswish")
def _of_negative_infinity(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = golden(x, *args, **given)
        return torch.where(x == -torch.inf, 0.0, made) if x.dtype is torch.bfloat16 else made

    return values


@kernel("erfc")
def _of_positive(golden: Values) -> Values:
    def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        made = golden(x, *args, **given)
        is_so = x.isnan() & ~x.signbit() & (x.dtype is torch.float32)
        return torch.where(is_so, 2.9415805728738587e-12, made)

    return values
