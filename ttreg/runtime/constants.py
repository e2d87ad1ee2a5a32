"""Constants that are refused for every op: dimensions that no tensor has, and numbers that ttnn cannot take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, isfinite
from typing import Any

import torch

from ..meta import Meta
from ..plan import Plan
from ..refusal import BESIDE_BFLOAT16, FACTORS, LARGE, NO_SUCH_DIMENSION, NUMBERS, TWICE, Refusal
from ..schema import dimension_arguments

_LARGEST, _LARGEST_BFLOAT16 = (torch.finfo(dtype).max for dtype in (torch.float32, torch.bfloat16))

_FACTORS = ("alpha", "beta")


def refuse_constants(plan: Plan, metas: list[Meta]) -> Refusal | None:
    """Why the device takes no call with these constants, whatever the op; `metas` describe the call's tensors."""
    values = plan.constants.values()
    outside = _no_such_dimension(plan, [meta.ndim for meta in metas])
    if outside:
        return NO_SUCH_DIMENSION.with_got(", ".join(map(str, outside)))
    dims = plan.constants.get("dim")
    if isinstance(dims, (list, tuple)) and metas and len({dim % max(metas[0].ndim, 1) for dim in dims}) < len(dims):
        return TWICE.with_got(str(list(dims)))
    for number in _numbers(values):
        if isinstance(number, complex) or _LARGEST < abs(number) < inf:
            return NUMBERS.with_got(str(number))
    if any(meta.dtype is torch.bfloat16 for meta in (*plan.outputs, *metas)):
        for number in _numbers(values):
            if _LARGEST_BFLOAT16 < abs(number) < inf:
                return BESIDE_BFLOAT16.with_got(str(number))
    for number in _large(values):
        return LARGE.with_got(str(number))
    for number in map(plan.constants.get, _FACTORS):
        if isinstance(number, float) and not isfinite(number):
            return FACTORS.with_got(str(number))
    return None


def _no_such_dimension(plan: Plan, ranks: list[int]) -> list[int]:
    """The dimensions that no argument or result has; some shape functions do not check this."""
    rank = max([1, *ranks, *(meta.ndim for meta in plan.outputs)])
    given = [plan.constants.get(name) for name in dimension_arguments(plan.op)]
    dims = [dim for value in given for dim in (value if isinstance(value, (list, tuple)) else [value])]
    return [dim for dim in dims if isinstance(dim, int) and not -rank <= dim < rank]


def _large(values: Iterable[Any]) -> Iterator[int]:
    """The integers in lists that do not fit 32 bits. ttnn takes strides, paddings and sizes as 32 bits."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from (item for item in value if isinstance(item, int) and not -(1 << 31) <= item < 1 << 31)


def _numbers(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _numbers(value)
        elif isinstance(value, (float, complex)):
            yield value
