"""Weights that the user wants carried in a block float: a ttnn dtype with one exponent for each 16 values."""

from __future__ import annotations

from collections.abc import Iterable

import torch

BLOCK_FLOATS = ("bfloat8_b", "bfloat4_b")

_ATTRIBUTE = "_ttreg_block_float"


Weights = torch.nn.Module | torch.nn.Parameter


def carry_in(weights: Weights | Iterable[Weights], dtype: str | None) -> None:
    """Carry weights in `dtype`, "bfloat8_b" or "bfloat4_b", wherever they enter a matrix product. None ends this.

    For a module, this covers all of its parameters with at least two dimensions; for a list, each item. The weights
    take half or a quarter of the memory and traffic of bfloat16, and keep 7 or 3 bits of significand. The parameters
    themselves do not change.

    Raises ValueError for another dtype, TypeError for an item that is neither a module nor a parameter.
    """
    if dtype is not None and dtype not in BLOCK_FLOATS:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(map(repr, BLOCK_FLOATS))}, or None")
    for parameter in _parameters(weights):
        setattr(parameter, _ATTRIBUTE, dtype)


def _parameters(weights: Weights | Iterable[Weights]) -> list[torch.nn.Parameter]:
    if isinstance(weights, torch.nn.Parameter):
        return [weights]
    if isinstance(weights, torch.nn.Module):
        return [parameter for parameter in weights.parameters() if parameter.dim() >= 2]
    if isinstance(weights, Iterable) and not isinstance(weights, (torch.Tensor, str)):
        return [parameter for each in weights for parameter in _parameters(each)]
    raise TypeError(f"expected a module, a parameter or a list of them, got {type(weights).__name__}")


def block_float_of(tensor: torch.Tensor) -> str | None:
    """The block float that the user chose for this parameter, or for the parameter that this is a view of."""
    return getattr(tensor if tensor._base is None else tensor._base, _ATTRIBUTE, None)
