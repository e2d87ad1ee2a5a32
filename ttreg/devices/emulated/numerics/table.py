"""The table of ttnn functions whose values on the chip differ, and the decorators that add kernels to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Values = Callable[..., Any]
Compute = Callable[..., torch.Tensor]

# By the name of the function in ttnn.
KERNELS: dict[str, list[Callable[[Values], Values]]] = {}


def kernel(*names: str) -> Callable[[Callable[[Values], Values]], Callable[[Values], Values]]:
    """Let the decorated function wrap the golden function of `ttnn.<name>`.

    If there are several for one name, each wraps the result of the one before.
    """

    def decorate(make: Callable[[Values], Values]) -> Callable[[Values], Values]:
        for name in names:
            KERNELS.setdefault(name, []).append(make)
        return make

    return decorate


def of_floats(*names: str) -> Callable[[Compute], Compute]:
    """Use the decorated function in place of `ttnn.<name>` for floats. Its first argument is the golden function."""

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
    """Whether all dtypes are float32."""
    return all(tensor.dtype is torch.float32 for tensor in tensors)
