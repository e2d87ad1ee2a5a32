"""The device carries int64 as int32: whether the values of a tensor fit."""

from __future__ import annotations

import torch


class TooLarge(Exception):
    """An int64 tensor has values outside the range of int32."""


def fits_int32(tensor: torch.Tensor) -> bool:
    """Whether each value of an integer tensor is in the range of int32."""
    limits = torch.iinfo(torch.int32)
    return not tensor.numel() or bool(tensor.min() >= limits.min and tensor.max() <= limits.max)
