"""Arguments that are brought to one dtype before a lowering gets them, as PyTorch's type promotion does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from ..call import Call
from ..meta import Meta


@dataclass(frozen=True)
class Common:
    """The common dtype of all arguments whose specs share this object.

    If all of them are integers or bools, and `int_to_float` is true for the call, the common dtype is PyTorch's default
    dtype, as in `3 / 2`.
    """

    int_to_float: Callable[[Call], bool] | None = None

    def dtype(self, call: Call, names: Iterable[str]) -> torch.dtype:
        """The dtype to which the named arguments of the call are brought."""
        flat: list[Any] = []
        for value in (call[name] for name in names):
            flat.extend(value if isinstance(value, (list, tuple)) else [value])
        dtype = promoted(operand for operand in flat if operand is not None)
        if self.int_to_float is None or dtype.is_floating_point or dtype.is_complex or not self.int_to_float(call):
            return dtype
        return torch.get_default_dtype()


COMMON = Common()


def promoted(operands: Iterable[Any]) -> torch.dtype:
    """The common dtype of tensors (as `Meta`) and Python numbers.

    As https://docs.pytorch.org/docs/stable/tensor_attributes.html says, tensors with dimensions decide. A tensor
    without dimensions, or a number, only raises the result to its own kind: integer, floating point or complex.
    """
    dimensioned: list[torch.dtype] = []
    scalars: list[torch.dtype] = []
    numbers: list[torch.dtype] = []
    for operand in operands:
        if not isinstance(operand, Meta):
            numbers.append(_of_number(operand))
        else:
            (dimensioned if operand.ndim else scalars).append(operand.dtype)
    found = [reduce(torch.promote_types, dtypes) for dtypes in (dimensioned, scalars, numbers) if dtypes]
    return reduce(lambda lower, higher: _raised(higher, lower), reversed(found))


def _of_number(number: complex) -> torch.dtype:
    if isinstance(number, bool):
        return torch.bool
    if isinstance(number, int):
        return torch.int64
    default = torch.get_default_dtype()
    return default if isinstance(number, float) else default.to_complex()


def _raised(higher: torch.dtype, lower: torch.dtype) -> torch.dtype:
    """`higher`, raised to the kind of `lower` if that is the higher kind."""
    if _kind(lower) <= _kind(higher):
        return higher
    return higher.to_complex() if higher.is_floating_point else torch.promote_types(higher, lower)


def _kind(dtype: torch.dtype) -> int:
    return 3 if dtype.is_complex else 2 if dtype.is_floating_point else 1 if dtype is not torch.bool else 0
