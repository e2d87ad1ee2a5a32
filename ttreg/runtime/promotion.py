"""PyTorch's type promotion of tensors and numbers, without the import of sympy that its own Python form of it makes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch

from ..meta import Meta


def promoted(operands: Iterable[Any]) -> torch.dtype:
    """The common dtype of tensors (as `Meta`) and Python numbers.

    As https://docs.pytorch.org/docs/stable/tensor_attributes.html says: tensors with dimensions decide; one without
    any, or a number, only raises the result to its own kind: integer, floating point, complex.
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
    """`higher`, or what the kind of `lower` makes of it."""
    if _kind(lower) <= _kind(higher):
        return higher
    return higher.to_complex() if higher.is_floating_point else torch.promote_types(higher, lower)


def _kind(dtype: torch.dtype) -> int:
    return 3 if dtype.is_complex else 2 if dtype.is_floating_point else 1 if dtype is not torch.bool else 0
