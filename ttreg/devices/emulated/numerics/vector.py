"""Arithmetic and comparisons of two operands in the vector unit, which computes in float32 without denormals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .bits import as_bits, without_denormals
from .table import Values, kernel

Number = torch.Tensor | float
OfTwo = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]


def of_two_floats(*names: str) -> Callable[[OfTwo], OfTwo]:
    """Use the decorated function in the place of `ttnn.<name>` where the operands are tensors of floats, or numbers.

    It is given float32 values, and whether the kernel is the one that rounds to bfloat16.
    """

    def decorate(compute: OfTwo) -> OfTwo:
        def make(golden: Values) -> Values:
            def values(a: Number, b: Number, *args: Any, **given: Any) -> torch.Tensor:
                tensors = [value for value in (a, b) if isinstance(value, torch.Tensor)]
                if args or set(given) - {"dtype"} or not all(value.is_floating_point() for value in tensors):
                    return golden(a, b, *args, **given)
                narrow = all(value.dtype is torch.bfloat16 for value in tensors)
                first, second = (torch.as_tensor(value, dtype=torch.float32) for value in (a, b))
                return compute(first, second, narrow)

            return values

        kernel(*names)(make)
        return compute

    return decorate


@kernel("eq", "ne", "lt", "le", "gt", "ge", "log", "log2", "log10")
def _without_denormals(golden: Values) -> Values:
    def flushed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        return without_denormals(value.float()).to(value.dtype)

    def values(*args: Any, **given: Any) -> torch.Tensor:
        return golden(*map(flushed, args), **given)

    return values


@of_two_floats("multiply")
def multiplied(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    """The product; a NaN has the product's sign. In bfloat16 it is 0 if a factor is +0."""
    made = signed(without_denormals(a) * without_denormals(b), a, b)
    return torch.where((as_bits(a) == 0) | (as_bits(b) == 0), 0.0, made) if narrow else made


@of_two_floats("divide")
def divided(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    """The quotient. In bfloat16 it is a product with the reciprocal, and so 0 if the divisor is NaN."""
    made = signed(without_denormals(a) / without_denormals(b), a, b)
    if not narrow:
        return made
    made = torch.where((a == 0) & (b == 0), torch.nan, made)
    return torch.where(b.isnan() & a.isfinite(), 0.0, made)


@kernel("divide")
def _rounded_quotient(unrounded: Values) -> Values:
    rounding = {"floor": torch.floor, "trunc": torch.trunc}

    def values(a: Number, b: Number, *args: Any, rounding_mode: str | None = None, **given: Any) -> torch.Tensor:
        of_integers = any(isinstance(v, torch.Tensor) and not v.is_floating_point() for v in (a, b))
        if rounding_mode is None or of_integers:
            mode = {} if rounding_mode is None else {"rounding_mode": rounding_mode}
            return unrounded(a, b, *args, **mode, **given)
        return rounding[rounding_mode](unrounded(a, b, *args, **given))

    return values


def signed(made: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The values, with NaN given the sign of the product."""
    is_negative = a.signbit() ^ b.signbit()
    return torch.where(made.isnan(), torch.where(is_negative, -torch.nan, torch.nan), made)


def ordered(values: torch.Tensor) -> torch.Tensor:
    """The rank of float32 values among all; NaN comes first or last, by its sign."""
    bits = as_bits(values)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


@of_two_floats("maximum")
def _maximum(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    return torch.where(ordered(a) >= ordered(b), a, b)


@of_two_floats("minimum")
def _minimum(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    return torch.where(ordered(a) <= ordered(b), a, b)


@of_two_floats("hypot")
def _hypot(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    return (without_denormals(a).square() + without_denormals(b).square()).sqrt().abs()


@of_two_floats("atan2")
def _atan2(y: torch.Tensor, x: torch.Tensor, narrow: bool) -> torch.Tensor:
    """The angle; NaN where one operand is 0 and the other a denormal."""
    nothing = (without_denormals(y) == 0) & (without_denormals(x) == 0) & ((y == 0) ^ (x == 0))
    made = torch.where(nothing, torch.full_like(y, torch.nan).copysign(y), torch.atan2(y, x))
    return torch.where(y.isnan() | x.isnan(), torch.nan, made)


@of_two_floats("fmod")
def _fmod(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    """The remainder of a quotient that is rounded to float32, corrected by at most one divisor."""
    a, b = without_denormals(a), without_denormals(b)
    size = b.abs()
    made = _left(a, b, (a * b.reciprocal()).trunc())
    made = torch.where(made.abs() >= size, torch.where(made >= 0, made - size, made + size), made)
    made = torch.where((a >= 0) & (made < 0), made + size, torch.where((a < 0) & (made > 0), made - size, made))
    return torch.where(b == 0, torch.nan, torch.where(a == b, 0.0, made))


@of_two_floats("remainder")
def _remainder(a: torch.Tensor, b: torch.Tensor, narrow: bool) -> torch.Tensor:
    """As `_fmod`, with the divisor's sign."""
    a, b = without_denormals(a), without_denormals(b)
    made = _left(a, b, (a * b.reciprocal()).floor())
    made = torch.where((made != 0) & (made.signbit() != b.signbit()), made + b, made)
    less = made - b
    above = (a > 0) & (b > 0) & (less >= 0)
    below = (a < 0) & (b < 0) & (less <= 0)
    return torch.where(b == 0, torch.nan, torch.where(above | below, less, made))


def _left(a: torch.Tensor, b: torch.Tensor, quotient: torch.Tensor) -> torch.Tensor:
    return a - quotient * b
