"""Rounds weights to the bits that the matrix unit keeps. The unit itself cuts off the rest, towards 0."""

from __future__ import annotations

import torch

_INFINITE = 0x7F800000
_LARGEST = 0x7F000000  # the largest exponent of a finite number


# Elements that are rounded at a time: what is made between stays in the processor's cache, and takes no memory.
_PIECE = 1 << 16


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round float32 values to `bits` explicit mantissa bits, halves to even; finite values stay finite."""
    whole = values.detach().contiguous().view(torch.int32)
    made = torch.empty_like(whole)
    for piece, place in zip(whole.view(-1).split(_PIECE), made.view(-1).split(_PIECE), strict=True):
        place.copy_(_rounded(piece, 23 - bits))
    return made.view(torch.float32)


def _rounded(whole: torch.Tensor, dropped: int) -> torch.Tensor:
    if whole.numel() and int((whole & _INFINITE).max()) < _LARGEST:  # none is or becomes infinite
        near = whole >> dropped
        near &= 1
        near += whole
        near += (1 << (dropped - 1)) - 1
        near &= -(1 << dropped)
        return near
    half = (1 << (dropped - 1)) - 1 + ((whole >> dropped) & 1)
    near = (whole + half) & -(1 << dropped)
    cut = whole & -(1 << dropped)
    overflows = (near & _INFINITE) == _INFINITE
    near = torch.where(overflows, cut, near)
    finite = (whole & _INFINITE) != _INFINITE
    return torch.where(finite, near, whole)
