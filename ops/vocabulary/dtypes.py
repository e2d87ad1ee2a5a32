"""Tensors in other dtypes: for a call, for accuracy in between, and for the result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from ...meta import Meta
from .numbers import is_number


def cast(tt: Any, value: Any, dtype: Any) -> Any:
    """The value in a ttnn dtype."""
    return value if value.dtype == dtype else tt.typecast(value, dtype)


def widen(tt: Any, value: Any) -> Any:
    """The value in float32, in which PyTorch computes what has more than one rounding in bfloat16."""
    return cast(tt, value, tt.float32)


def as_out(tt: Any, value: Any, out: Meta) -> Any:
    """The value in the ttnn dtype that carries `out`, the metadata of the output that a lowering may take."""
    return cast(tt, value, tt.carrier(out.dtype))


def torch_dtype(tt: Any, value: Any) -> torch.dtype:
    """The torch dtype for a constant beside the value: float32, int32, or bfloat16 (in which bools are 0 and 1)."""
    return {tt.float32: torch.float32, tt.int32: torch.int32}.get(value.dtype, torch.bfloat16)


def in_float32(tt: Any, function: Callable[..., Any], *tensors: Any) -> Any:
    """Apply the function, with bfloat16 tensors as float32 and the result rounded to bfloat16 once."""
    if tensors[0].dtype != tt.bfloat16:
        return function(*tensors)
    return tt.typecast(function(*(tt.typecast(t, tt.float32) for t in tensors)), tt.bfloat16)


def by_operand(tt: Any, function: Callable[..., Any], self: Any, other: Any) -> Any:
    """The function of two operands; of a bfloat16 tensor and a float32 one that stands for a number, rounded once."""
    if is_number(self) or is_number(other) or self.dtype == other.dtype:
        return function(self, other)
    return tt.typecast(function(tt.typecast(self, tt.float32), other), tt.bfloat16)


def moves_narrow(lowering: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering, given its uint8 or uint16 tensors as int32; what it then returns has their dtype again."""

    @functools.wraps(lowering)
    def moved(tt: Any, *tensors: Any, **arguments: Any) -> Any:
        narrow = tt.uint8, tt.uint16
        found = [dtype for dtype in map(_dtype, (*tensors, *arguments.values())) if dtype in narrow]
        if not found:
            return lowering(tt, *tensors, **arguments)

        def widen(value: Any) -> Any:
            if isinstance(value, list):
                return [widen(item) for item in value]
            return tt.typecast(value, tt.int32) if _dtype(value) in narrow else value

        arguments = {name: widen(value) for name, value in arguments.items()}
        result = lowering(tt, *map(widen, tensors), **arguments)
        if isinstance(result, list):
            return [None if item is None else tt.typecast(item, found[0]) for item in result]
        return tt.typecast(result, found[0])

    return moved


def _dtype(value: Any) -> Any:
    """The dtype of a tensor, or of the first in a list of tensors and Nones; None of anything else."""
    if type(value) is list and value:
        value = value[0] if value[0] is not None else next((item for item in value if item is not None), None)
    return getattr(value, "dtype", None)
