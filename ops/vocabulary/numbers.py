"""Python numbers beside tensors, as ttnn takes them and as PyTorch rounds them."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from ...call import Call
from ...conditions import Check

BF16 = torch.bfloat16

_RANGES = {torch.int32: (-(2**31), 2**31 - 1), torch.uint8: (0, 255), torch.bool: (0, 1)}


def is_number(value: Any) -> bool:
    """Whether an argument is a Python number; PyTorch passes them for tensors too (`x + 2` is `add.Tensor(x, 2)`)."""
    return isinstance(value, (bool, int, float))


def number(tt: Any, value: float, beside: Any) -> float:
    """A Python number as ttnn takes it beside a tensor: an int for integers, else a float that its dtype can hold."""
    if beside.dtype not in (tt.bfloat16, tt.float32):
        return int(value)
    # Masks are filled with the smallest float32, which must not become -inf when float32 is carried in bfloat16.
    largest = torch.finfo(BF16 if beside.dtype == tt.bfloat16 else torch.float32).max
    return float(value) if not math.isfinite(value) else max(-largest, min(float(value), largest))


def operand(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as ttnn takes it beside the tensor."""
    return number(tt, value, beside) if is_number(value) else value


def element(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as an element of the tensor's dtype would be.

    PyTorch rounds numbers to bfloat16 beside such tensors in sums, comparisons, remainders, powers and shrinkage, but
    not in other ops.
    """
    if not is_number(value):
        return value
    value = number(tt, value, beside)
    return bfloat16(value) if beside.dtype == tt.bfloat16 else value


def bfloat16(value: float) -> float:
    """A number rounded to bfloat16."""
    return _neighbours(value)[1] if value and math.isfinite(value) else value


def not_above(tt: Any, value: float, beside: Any) -> float:
    """The number, or the largest bfloat16 below it beside a bfloat16 tensor: the same elements are above either."""
    value = number(tt, value, beside)
    exact = not value or not math.isfinite(value) or beside.dtype != tt.bfloat16
    return value if exact else _neighbours(value)[0]


@functools.lru_cache(maxsize=1024)
def _neighbours(value: float) -> tuple[float, float]:
    """The largest bfloat16 that is not above a finite number, and the nearest bfloat16."""
    nearest = torch.tensor(value, dtype=torch.float64).to(torch.float32).to(BF16)
    below = nearest
    if float(nearest) > value:
        below = torch.nextafter(nearest, torch.tensor(-torch.inf, dtype=BF16))
    return float(below), float(nearest)


def filled(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as a tensor, for ttnn functions that take no numbers."""
    return tt.full_like(beside, number(tt, value, beside)) if is_number(value) else value


def scaled(tt: Any, value: Any, scale: float) -> Any:
    """The tensor times the number, without a call if that is 1."""
    return value if scale == 1 else tt.multiply(value, float(scale))


def _unfit_number(call: Call) -> str | None:
    """A number that the integer (or, if there are none, the bool) tensors of the call cannot hold."""
    dtypes = {meta.dtype for _, meta in call.tensors()}
    if any(dtype.is_floating_point for dtype in dtypes):
        return None
    for low, high in (limits for dtype, limits in _RANGES.items() if dtype in dtypes):
        numbers = [v for v in call.arguments.values() if is_number(v)]
        return next((str(v) for v in numbers if not low <= v <= high or v != int(v)), None)
    return None


FITS = Check("numbers beside integer tensors have values of their dtype", _unfit_number)
