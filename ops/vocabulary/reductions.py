"""Sums, means, extremes and products, added up in float32 by the accurate kernels."""

from __future__ import annotations

from typing import Any

from .compute import accurate
from .shapes import around, as_shape, cut, shape_of


def reduce(tt: Any, name: str, values: Any, dim: int | list[int] | None = None, keepdim: bool = False) -> Any:
    """`ttnn.<name>` ("sum", "mean", "max" or "min") of a dimension or several; None and an empty list are all.

    Its result has the dtype of the values: `widen` those of a sum or mean first, and cast what comes back.
    """
    if dim is None or dim == []:
        dim = list(range(len(values.shape))) or None
    return getattr(tt, name)(values, dim=dim, keepdim=keepdim, compute_kernel_config=accurate(tt))


def product_along(tt: Any, x: Any, dim: int) -> Any:
    """The product along a dimension counted from 0, which stays with size 1.

    ttnn's prod is some percent off, its cumprod exact.
    """
    shape = shape_of(x)
    last = cut(tt, tt.cumprod(as_shape(tt, x, around(shape, dim)), dim=1), 1, shape[dim] - 1, shape[dim])
    return as_shape(tt, last, [*shape[:dim], 1, *shape[dim + 1 :]])
