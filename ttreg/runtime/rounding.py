"""Rounds weights to the bits that the matrix unit keeps. The unit itself cuts off the rest, towards 0."""

from __future__ import annotations

import torch

_INFINITE = 0x7F800000


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round float32 values to `bits` explicit mantissa bits, halves to even; finite values stay finite."""
    dropped = 23 - bits
    whole = values.detach().contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1 + ((whole >> dropped) & 1)
    near = (whole + half) & -(1 << dropped)
    cut = whole & -(1 << dropped)
    overflows = (near & _INFINITE) == _INFINITE
    near = torch.where(overflows, cut, near)
    finite = (whole & _INFINITE) != _INFINITE
    return torch.where(finite, near, whole).view(torch.float32)
