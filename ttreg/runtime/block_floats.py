"""Weights that the user wants carried in another dtype, such as a block float: one exponent for each 16 values."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..weights.forms import CARRIED_IN

BLOCK_FLOATS = ("bfloat8_b", "bfloat4_b")

_ATTRIBUTE = "_ttreg_block_float"


Weights = torch.nn.Module | torch.nn.Parameter


def carry_in(weights: Weights | Iterable[Weights], dtype: str | None) -> None:
    """Carry weights in `dtype`, such as "bfloat8_b" or "bfloat4_b", in all matrix products. None ends this.

    For a module, this covers all of its parameters with at least two dimensions; for a list, each item. The weights
    take half or a quarter of the memory and traffic of bfloat16, and keep 7 or 3 bits of significand. "bfloat16" and
    "float32" carry them in that dtype beside activations in another. The parameters themselves do not change.

    Raises ValueError for another dtype, TypeError for an item that is neither a module nor a parameter.
    """
    if dtype is not None and dtype not in CARRIED_IN:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(map(repr, CARRIED_IN))}, or None")
    for parameter in _parameters(weights):
        carry(parameter, dtype)


def carry(parameter: torch.nn.Parameter, dtype: str | None) -> None:
    """Carry one weight in a dtype of those in CARRIED_IN."""
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
