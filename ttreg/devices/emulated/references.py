"""References of our own where ttnn's golden function is missing, cannot run, or takes other arguments, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import ttnn

REFERENCES: dict[str, Callable[..., Any]] = {}


def reference(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Use the decorated function, on torch tensors, as the values of `ttnn.<name>`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        REFERENCES[name] = function
        return function

    return decorate


@reference("linear")
def _linear(
    values: torch.Tensor, weight: torch.Tensor, *, bias: Any = None, transpose_b: bool = False, **_: Any
) -> torch.Tensor:
    """ttnn's takes a bias of two elements for a matrix of two rows, and refuses it."""
    return torch.nn.functional.linear(values, weight if transpose_b else weight.mT, bias)


@reference("matmul")
def _matmul(
    a: torch.Tensor, b: torch.Tensor, *, transpose_b: bool = False, dtype: Any = None, **_: Any
) -> torch.Tensor:
    """ttnn's rounds to the dtype of the factors before it gives the result the `dtype` asked for."""
    if transpose_b:
        b = b.mT
    return a.float() @ b.float() if dtype == ttnn.float32 else a @ b


@reference("typecast")
def _typecast(values: torch.Tensor, dtype: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's needs the source's ttnn dtype, which a torch tensor lacks; the cast itself happens when it is stored."""
    return values


@reference("to_layout")
def _to_layout(values: torch.Tensor, layout: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's takes no keyword `layout`; values do not change."""
    return values
