"""Elementwise sums and products on the matrix unit, whose registers truncate the operands."""

from __future__ import annotations

import torch

from .bits import cut

KEPT = 10  # explicit bits of mantissa of a register; a product leaves out the last one of its first factor


def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a + b` of float32 values: both are truncated, and the smaller one is rounded to the grid of the larger one."""
    a, b = torch.broadcast_tensors(as_number(cut(a, KEPT)), as_number(cut(b, KEPT)))
    first_is_larger = a.abs() >= b.abs()
    larger, smaller = torch.where(first_is_larger, a, b), torch.where(first_is_larger, b, a)
    grid = torch.ldexp(torch.ones_like(larger), torch.frexp(larger).exponent - 1 - KEPT)
    steps = (smaller.abs() / grid + 0.5).floor()
    total = larger + torch.copysign(steps * grid, smaller)
    return torch.where(total.abs() < 2.0**-126, 0.0, total).float()


def subtracted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a - b` of float32 values."""
    return added(a, -b)


def multiplied(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a * b` of float32 values, without the product of both factors' low parts."""
    a, b = cut(a, KEPT - 1), cut(b, KEPT)
    high = cut(b, 6)
    return a * high + cut(a, 4) * (b - high)


def as_number(values: torch.Tensor) -> torch.Tensor:
    """float32 values in float64. The unit reads infinities and NaN as numbers with exponent 128, and denormals as 0."""
    wide = values.double()
    if not bool(values.isfinite().all()):
        mantissa = (values.contiguous().view(torch.int32) & 0x7FFFFF).double() * 2.0**-23 + 1
        wide = torch.where(values.isfinite(), wide, torch.copysign(mantissa * 2.0**128, wide))
    return torch.where(wide.abs() < 2.0**-126, 0.0, wide)
