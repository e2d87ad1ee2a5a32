"""pow, by the logarithm of the base: exponents past 32767 are no integers to it, and infinities are numbers."""

from __future__ import annotations

import torch

from .bits import without_denormals
from .elements import as_number
from .vector import of_two_floats

LARGEST_INTEGER = 32767


@of_two_floats("pow")
def _pow(base: torch.Tensor, exponent: torch.Tensor, narrow: bool) -> torch.Tensor:
    is_negative = base.signbit() & (base != 0)
    base, exponent = torch.broadcast_tensors(base, exponent)
    size = as_number(base).abs()
    finite = exponent.double().nan_to_num(torch.inf, torch.inf, -torch.inf if narrow else torch.inf)
    power = size.pow(torch.where(exponent.isfinite(), exponent.double(), 1.0))
    made = torch.where(exponent.isfinite(), power, torch.where(finite > 0, torch.inf, 0.0)).float()
    made = torch.where(without_denormals(base) == 0, _of_zero(exponent, narrow), made)
    is_integer = (exponent == exponent.trunc()) & (exponent.abs() <= LARGEST_INTEGER)
    if narrow:
        is_integer &= ~((exponent == 0) & exponent.signbit())
    of_negative = torch.where(is_integer, torch.where(exponent % 2 == 0, made, -made), torch.nan)
    return without_denormals(torch.where(is_negative, of_negative, made))


def _of_zero(exponent: torch.Tensor, narrow: bool) -> torch.Tensor:
    below = torch.nan if narrow else torch.inf
    made = torch.where(exponent > 0, 0.0, torch.where(exponent < 0, below, torch.nan))
    return torch.where(exponent == 0, 1.0, made)
