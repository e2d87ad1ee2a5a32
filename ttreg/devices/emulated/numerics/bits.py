"""float32 and bfloat16 values as the chip's units take them apart."""

from __future__ import annotations

import torch

_SIGN, _EXPONENT, _MAGNITUDE = -0x80000000, 0x7F800000, 0x7FFFFFFF


def as_bits(values: torch.Tensor) -> torch.Tensor:
    """The bits of float32 values."""
    return values.contiguous().view(torch.int32)


def cut(values: torch.Tensor, bits: int) -> torch.Tensor:
    """float32 values with so many explicit bits of mantissa, cut towards 0."""
    return (as_bits(values) & -(1 << (23 - bits))).view(torch.float32)


def powers_of_two(values: torch.Tensor) -> torch.Tensor:
    """The power of two just below each float32 value, in magnitude; 0 for zeros and denormals."""
    return (as_bits(values) & _EXPONENT).view(torch.float32)


def without_denormals(values: torch.Tensor) -> torch.Tensor:
    """float32 values with denormals as zeros of their sign."""
    bits = as_bits(values)
    return torch.where((bits & _EXPONENT) == 0, bits & _SIGN, bits).view(torch.float32)


def to_bfloat16(values: torch.Tensor, halves_to_even: bool = False) -> torch.Tensor:
    """float32 values as they are packed in bfloat16.

    NaN becomes an infinity. Magnitudes below the smallest normal number become +0. The packer rounds halves away from
    0; kernels that round by themselves round halves to even.
    """
    bits = as_bits(values)
    magnitude = (bits & _MAGNITUDE).clamp(max=_EXPONENT)
    magnitude = magnitude + ((magnitude >> 16 & 1) + 0x7FFF if halves_to_even else 0x8000)
    kept = torch.where(magnitude < 0x800000, 0, (magnitude | (bits & _SIGN)) & -0x10000)
    return kept.view(torch.float32).to(torch.bfloat16)
