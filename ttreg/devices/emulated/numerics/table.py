"""The table of the ttnn functions that are computed in a way of the chip's own, and how a kernel gets into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Values = Callable[..., Any]
Compute = Callable[..., torch.Tensor]

# By the name of the function in ttnn.
KERNELS: dict[str, list[Callable[[Values], Values]]] = {}


def kernel(*names: str) -> Callable[[Callable[[Values], Values]], Callable[[Values], Values]]:
    """Use what the decorated function makes of a golden function in the place of `ttnn.<name>`'s.

    Of several for one name, each is given what the one before has made.
    """

    def decorate(make: Callable[[Values], Values]) -> Callable[[Values], Values]:
        for name in names:
            KERNELS.setdefault(name, []).append(make)
        return make

    return decorate


def of_floats(*names: str) -> Callable[[Compute], Compute]:
    """Use the decorated function, which is given the golden one first, in the place of `ttnn.<name>` of floats."""

    def decorate(compute: Compute) -> Compute:
        def make(golden: Values) -> Values:
            def values(x: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
                if not x.is_floating_point():
                    return golden(x, *args, **given)
                return compute(golden, x, *args, **given)

            return values

        kernel(*names)(make)
        return compute

    return decorate


def float32(*tensors: torch.Tensor) -> bool:
    """Whether all are float32."""
    return all(tensor.dtype is torch.float32 for tensor in tensors)
