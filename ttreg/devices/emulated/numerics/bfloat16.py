"""Functions whose kernels take a shorter approximation for bfloat16, or cut their results instead of rounding them.

The coefficients are those of ttnn's kernels. Errors come to a unit in the last place, now and then to two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from .bits import cut
from .table import Values, kernel, of_floats

OfFloat32 = Callable[[torch.Tensor], torch.Tensor]
CUT = 7  # explicit bits of mantissa of bfloat16


def polynomial(x: torch.Tensor, *coefficients: float) -> torch.Tensor:
    """The value of the polynomial; the constant coefficient comes first."""
    made = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        made = made * x + coefficient
    return made


def of_bfloat16(*names: str) -> Callable[[OfFloat32], OfFloat32]:
    """Use the decorated float32 function in place of `ttnn.<name>` for bfloat16."""

    def decorate(function: OfFloat32) -> OfFloat32:
        def make(golden: Values) -> Values:
            def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
                return function(x.float()) if x.dtype is torch.bfloat16 else golden(x, *args, **given)

            return values

        kernel(*names)(make)
        return function

    return decorate


@of_floats("hardsigmoid", "leaky_relu", "erf", "deg2rad", "rad2deg")
def _cut(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    made = golden(x.float(), *args, **given)
    return cut(made, CUT) if x.dtype is torch.bfloat16 else made


@of_bfloat16("hardswish")
def _hardswish(x: torch.Tensor) -> torch.Tensor:
    return x * cut(torch.nn.functional.hardsigmoid(x), CUT)


def two_to_the(x: torch.Tensor, constant: float = 1.0017248) -> torch.Tensor:
    """2 ** x, by a parabola between the powers."""
    whole = x.clamp(-127, 128).floor()
    part = (x.clamp(-127, 128) - whole) * 2.0**23
    made = torch.ldexp(polynomial(part, constant, 7.839635491371155e-08, 4.791750143340323e-15), whole)
    return torch.where(x <= -127, 0.0, torch.where(x >= 128, torch.inf, made))


of_bfloat16("exp2")(two_to_the)


@of_bfloat16("exp")
def exp(x: torch.Tensor) -> torch.Tensor:
    """The exponential as a kernel of its own computes it."""
    return two_to_the(x * 1.442695, 1.001953125)


def exp_inside(x: torch.Tensor) -> torch.Tensor:
    """The exponential as other kernels compute it."""
    return two_to_the(x * 1.442695)


@of_bfloat16("sigmoid")
def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return (1 + exp_inside(-x)).reciprocal()


@of_bfloat16("silu")
def _silu(x: torch.Tensor) -> torch.Tensor:
    return x * sigmoid(x)


@of_bfloat16("mish")
def _mish(x: torch.Tensor) -> torch.Tensor:
    u = exp_inside(x).bfloat16().float()
    return torch.where(x < 8, x * (u * (u + 2) / ((u + 1).square() + 1)), x)


def _gelu(x: torch.Tensor) -> torch.Tensor:
    square = x.square()
    odd = polynomial(
        square, 0.39894228, -0.066361041, 0.0097720051, -0.0010717806, 8.1812160e-5, -3.8082057e-6, 7.9821414e-8
    )
    tail = exp_inside(-0.5 * square) * polynomial(x, 0.30369991, 0.095413387, 0.013809984, 0.00075950479)
    made = torch.where(x >= -3.125, x * (0.5 + x * odd), x * tail)
    return torch.where(x >= 2.78125, x, torch.where(x > -5.54259443, made, 0.0))


@of_floats("gelu")
def _gelu_but_by_tanh(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    by_erf = x.dtype is torch.bfloat16 and not args and "Tanh" not in str(given.get("variant"))
    return _gelu(x.float()) if by_erf else golden(x, *args, **given)


@of_bfloat16("tanh")
def _tanh(x: torch.Tensor) -> torch.Tensor:
    coefficients = (0.999004364, 3.0897438526e-2, -0.489065975, 0.281917632, -6.66490197e-2, 5.876733921e-3)
    return polynomial(x.abs(), 0.0, *coefficients).clamp(max=1).copysign(x)


def log1p_of_part(m: torch.Tensor) -> torch.Tensor:
    """log(1 + m) for m from -1/4 to 1/2."""
    return polynomial(m, -0.5009765625, 0.363525390625, -0.25) * m.square() + m


def log(x: torch.Tensor) -> torch.Tensor:
    """The natural logarithm."""
    mantissa, exponent = torch.frexp(x)
    lower = mantissa < 0.75
    mantissa, exponent = torch.where(lower, mantissa * 2, mantissa), exponent - lower.int()
    made = exponent * math.log(2) + log1p_of_part(mantissa - 1)
    return torch.where((x > 0) & x.isfinite(), made, x.log())


of_bfloat16("log")(log)
of_bfloat16("log1p")(lambda x: log1p(x))


def log1p(x: torch.Tensor) -> torch.Tensor:
    """log(1 + x)."""
    mantissa, exponent = torch.frexp(1 + x)
    lower = mantissa < 0.75
    exponent = exponent - lower.int()
    part = torch.ldexp(x, -exponent) + (torch.ldexp(torch.ones_like(x), -exponent) - 1)
    made = exponent * math.log(2) + log1p_of_part(part)
    return torch.where((x > -1) & x.isfinite(), made, x.log1p())


@of_bfloat16("log2")
def _log2(x: torch.Tensor) -> torch.Tensor:
    return log(x) * (1 / math.log(2))


@of_bfloat16("log10")
def _log10(x: torch.Tensor) -> torch.Tensor:
    return log(x) * (1 / math.log(10))


@of_bfloat16("atan")
def _atan(x: torch.Tensor) -> torch.Tensor:
    is_large = x.abs() >= 1
    a = torch.where(is_large, x.abs().reciprocal(), x.abs())
    made = a * polynomial(a.square(), 0.999787867, -0.325808585, 0.155579001, -4.4326745e-2)
    return torch.where(is_large, math.pi / 2 - made, made).copysign(x)


@of_bfloat16("asinh")
def _asinh(x: torch.Tensor) -> torch.Tensor:
    a = x.abs()
    near = a * polynomial(
        a.square(),
        1.0,
        -1.666652262e-1,
        7.495806366e-2,
        -4.417778924e-2,
        2.785361186e-2,
        -1.484858524e-2,
        4.375355784e-3,
    )
    far = log1p(a + a.square() / (1 + (a.square() + 1).sqrt()))
    return torch.where(a < 0.75, near, torch.where(a < 2.0**28, far, log1p(a - 1) + math.log(2))).copysign(x)
