"""ttreg's own references, where ttnn's golden function is missing, does not run, or takes other arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

REFERENCES: dict[str, Callable[..., Any]] = {}


def reference(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Use the decorated function, on torch tensors, as the values of `ttnn.<name>`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        REFERENCES[name] = function
        return function

    return decorate


@reference("linear")
def _linear(a: torch.Tensor, b: torch.Tensor, *, bias: torch.Tensor | None = None, **rest: Any) -> torch.Tensor:
    """ttnn's golden function takes a bias of two elements for a matrix of two rows, and refuses it."""
    product = _matmul(a, b, **rest)
    return product if bias is None else product + bias


@reference("matmul")
def _matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dtype: Any = None,
    compute_kernel_config: Any = None,
) -> torch.Tensor:
    """ttnn's golden function always rounds to the factors' dtype; the device sums in float32, and heeds `dtype`."""
    a, b = a.mT if transpose_a else a, b.mT if transpose_b else b
    return a.float() @ b.float()


@reference("typecast")
def _typecast(values: torch.Tensor, dtype: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's needs the source's ttnn dtype, which a torch tensor lacks; the cast itself happens when it is stored."""
    return values


@reference("to_layout")
def _to_layout(values: torch.Tensor, layout: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's takes no keyword `layout`; values do not change."""
    return values


@reference("scatter")
def _scatter(
    values: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, reduce: str | None = None
) -> torch.Tensor:
    """ttnn's golden function ignores `reduce`."""
    index = index.to(torch.int64)
    if reduce is None:
        return values.scatter(dim, index, source)
    return values.scatter_reduce(dim, index, source, {"add": "sum", "multiply": "prod"}[reduce])
