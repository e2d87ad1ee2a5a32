"""Functions whose kernels approximate in float32 too, with large errors, and the products of `prod`.

The coefficients are those of ttnn's kernels, which cut results of bfloat16.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .bfloat16 import CUT, log, polynomial
from .bits import cut
from .elements import as_number, multiplied
from .table import Values, kernel, of_floats

_ERFC = (  # up to where, numerator, denominator
    (2.5, (1.0000233650, -1.3375675678, 6.8185544e-1, -1.5691982210e-1, 1.3746744953e-2)),
    (5.0, (-2.5655237550e-5, 2.1275576728e-5, -6.6162156145e-6, 9.1439767402e-7, -4.7387182178e-8)),
)
_ERFC_DENOMINATORS = (
    (1.0, -2.0801517367e-1, 4.3667086959e-1, -3.4568668343e-3, 2.5104774162e-2, 2.8375532478e-2),
    (1.0, -1.6457208991e-1, -2.0572184026e-1, -1.3888636231e-1, 1.2677097321e-1, -2.1375391632e-2),
)
_NEAR_ZEROS = (  # of lgamma
    (1, (-0.57721566, 0.82246703, -0.40068563, 0.27058081, -0.20738555)),
    (2, (0.42278434, 0.32246703, -0.06735230, 0.02058081, -0.00738555)),
)


def _narrowed(made: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return cut(made, CUT) if x.dtype is torch.bfloat16 else made


@of_floats("erfc")
def _erfc(_: Values, x: torch.Tensor, **__: Any) -> torch.Tensor:
    size = x.float().abs().clamp(max=5)
    near, far = (
        polynomial(size, *above) / polynomial(size, *below)
        for (_, above), below in zip(_ERFC, _ERFC_DENOMINATORS, strict=True)
    )
    made = torch.where(size < 2.5, near, far)
    return _narrowed(torch.where(x < 0, 2 - made, torch.where(x.isnan(), x.float(), made)), x)


@of_floats("erfinv")
def _erfinv(_: Values, x: torch.Tensor, **__: Any) -> torch.Tensor:
    size = x.float()
    logarithm = log(1 - size * size)
    half = -4.330746750799873 - 0.5 * logarithm
    made = (half + (half * half - logarithm * 6.802721088435375).sqrt()).sqrt()
    return _narrowed(torch.where(size.abs() < 2.5e-4, 0.0, made).copysign(size), x)


@of_floats("log_sigmoid")
def _log_sigmoid(_: Values, x: torch.Tensor, **__: Any) -> torch.Tensor:
    given = x.float()
    inside = -polynomial(
        -given,
        *(0.6924354434013367, 0.49275708198547363, 0.12142381817102432, 0.0031102809589356184, -0.00330807245336473),
        *(-0.00028794066747650504, 5.3185409342404455e-05, 7.1853546614875086e-06, 7.4961114648886e-08),
    )
    made = torch.where(given > 4, -(-given).exp(), torch.where(given > -4, inside, given))
    return _narrowed(made, x)


@of_floats("softplus")
def _softplus(golden: Values, x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
    if args or given:
        return golden(x, *args, **given)
    size = x.float().abs()
    coefficients: tuple[float, ...]
    if x.dtype is torch.bfloat16:
        coefficients = (0.69423985, -0.50932420, 0.14279095, -1.3000584e-2, -1.8627923e-3, 5.0152968e-4, -3.1273467e-5)
        far = torch.zeros_like(size)
    else:
        coefficients = (
            *(6.9310557842e-01, -4.9926245213e-01, 1.2186349183e-01, 5.6753782555e-03, -1.0528374463e-02),
            *(2.7290175203e-03, -3.4358495031e-04, 2.1285692128e-05, -4.8245715334e-07),
        )
        far = (-size).exp()
    made = torch.where(size > 5, far, polynomial(size, *coefficients)) + x.float().clamp(min=0)
    return torch.where(x > 20, x.float(), made)


def coarse_logarithm(x: torch.Tensor) -> torch.Tensor:
    """The natural logarithm by a cubic between powers of two."""
    mantissa, exponent = torch.frexp(as_number(x))
    made = polynomial((mantissa * 2).float(), -1.49277612, 2.11263230, -0.72910421, 0.10968964)
    return torch.where(mantissa == 0, -torch.inf, (exponent - 1) * math.log(2) + made)


@of_floats("lgamma")
def _lgamma(golden: Values, x: torch.Tensor, **_: Any) -> torch.Tensor:
    """By Stirling's series; below 1/2, ttnn reflects it."""
    given = x.float()
    z = torch.where(given < 0.5, 1 - given, given)
    logarithm = coarse_logarithm(z) if x.dtype is torch.bfloat16 else z.log()
    made = (z - 0.5) * logarithm - z + 0.9189385332046727
    made = made + z.reciprocal() * polynomial(z.reciprocal().square(), 0.0833333333, -0.0027777777, 0.00079365)
    if x.dtype is not torch.bfloat16:
        for near, coefficients in _NEAR_ZEROS:
            made = torch.where((z - near).abs() <= 0.25, (z - near) * polynomial(z - near, *coefficients), made)
    reflected = math.log(math.pi) - (math.pi * (given - given.round())).sin().abs().log() - made
    made = torch.where(given < 0.5, reflected, made)
    return torch.where(made.isfinite(), made, golden(given))


@kernel("xlogy")
def _xlogy(golden: Values) -> Values:
    def values(x: torch.Tensor, y: torch.Tensor | float, *args: Any, **given: Any) -> torch.Tensor:
        if args or given:
            return golden(x, y, *args, **given)
        of = torch.as_tensor(y, dtype=torch.float32)
        return torch.where(of.signbit(), torch.nan, coarse_logarithm(of) * x.float())

    return values


@kernel("prod")
def _prod(golden: Values) -> Values:
    """One factor after the other, on the matrix unit."""

    def values(x: torch.Tensor, dim: int | None = None, keepdim: bool = False, **given: Any) -> torch.Tensor:
        if dim is None or not x.is_floating_point() or not x.numel():
            return golden(x, dim, keepdim, **given)
        first, *rest = x.float().unbind(dim)
        for factor in rest:
            first = multiplied(first, factor)
        return first.unsqueeze(dim) if keepdim else first

    return values
