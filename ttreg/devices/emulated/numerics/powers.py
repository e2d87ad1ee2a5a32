"""pow, by the logarithm of the base. It treats no exponent above 32767 as an integer, and infinities as numbers."""

from __future__ import annotations

import math

import torch

from .bfloat16 import polynomial
from .bits import without_denormals
from .elements import as_number
from .vector import of_two_floats

LARGEST_INTEGER = 32767
_LOGARITHM = (-1.5826655626, 2.3098683357, -0.8689142466, 0.1417114735)


@of_two_floats("pow")
def _pow(base: torch.Tensor, exponent: torch.Tensor, narrow: bool) -> torch.Tensor:
    is_negative = base.signbit() & (base != 0)
    base, exponent = torch.broadcast_tensors(base, exponent)
    size = as_number(base).abs()
    finite = exponent.double().nan_to_num(torch.inf, torch.inf, -torch.inf if narrow else torch.inf)
    of_finite = torch.where(exponent.isfinite(), exponent.double(), 1.0)
    power = _coarse_power(size, of_finite) if narrow else size.pow(of_finite)
    made = torch.where(exponent.isfinite(), power, torch.where(finite > 0, torch.inf, 0.0)).float()
    made = torch.where(without_denormals(base) == 0, _of_zero(exponent, narrow), made)
    is_integer = (exponent == exponent.trunc()) & (exponent.abs() <= LARGEST_INTEGER)
    if narrow:
        is_integer &= ~((exponent == 0) & exponent.signbit())
    of_negative = torch.where(is_integer, torch.where(exponent % 2 == 0, made, -made), torch.nan)
    return without_denormals(torch.where(is_negative, of_negative, made))


def _coarse_power(size: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """2 ** (exponent * log2(size)), by a cubic for the logarithm and a parabola between powers of two."""
    mantissa, whole = torch.frexp(size)
    cubic = polynomial((mantissa * 2).float(), *_LOGARITHM).double()
    power = (exponent * (whole - 1 + cubic / math.log(2))).clamp(-127, 128)
    part = (power - power.floor()) * 2.0**23
    parabola = 0.40196114e-7 * (0xF94EE7 + part) * (0x560E + part)
    return torch.ldexp(1 + parabola * 2.0**-23, power.floor())


def _of_zero(exponent: torch.Tensor, narrow: bool) -> torch.Tensor:
    below = torch.nan if narrow else torch.inf
    made = torch.where(exponent > 0, 0.0, torch.where(exponent < 0, below, torch.nan))
    return torch.where(exponent == 0, 1.0, made)
