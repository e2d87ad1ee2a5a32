"""Weights rounded to what the matrix unit keeps of them: what it is given beyond that it cuts off, towards 0."""

from __future__ import annotations

import torch

_INFINITE = 0x7F800000


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """float32 values to so many explicit bits of mantissa, halves to even; what is finite stays so."""
    dropped = 23 - bits
    whole = values.detach().contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1 + ((whole >> dropped) & 1)
    near = (whole + half) & -(1 << dropped)
    cut = whole & -(1 << dropped)
    overflows = (near & _INFINITE) == _INFINITE
    near = torch.where(overflows, cut, near)
    finite = (whole & _INFINITE) != _INFINITE
    return torch.where(finite, near, whole).view(torch.float32)
