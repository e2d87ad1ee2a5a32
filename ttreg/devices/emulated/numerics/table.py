"""Which of ttnn's functions are computed in a way of the chip's own, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Values = Callable[..., Any]

_KERNELS: dict[str, list[Callable[[Values], Values]]] = {}


def kernel(*names: str) -> Callable[[Callable[[Values], Values]], Callable[[Values], Values]]:
    """Use what the decorated function makes of a golden function in the place of `ttnn.<name>`'s.

    Of several for one name, each is given what the one before has made.
    """

    def decorate(make: Callable[[Values], Values]) -> Callable[[Values], Values]:
        for name in names:
            _KERNELS.setdefault(name, []).append(make)
        return make

    return decorate


def as_on_chip(name: str, golden: Values) -> Values:
    """The values of `ttnn.<name>` as the chip's kernel computes them; on torch tensors, as the golden function is."""
    from . import bfloat16, binary, convolutions, fused, matrix_products, powers, trigonometry, vector  # noqa: F401
    from . import not_a_number  # noqa: F401  after those that it is put around

    for make in _KERNELS.get(name, ()):
        golden = make(golden)
    return golden


def float32(*tensors: torch.Tensor) -> bool:
    """Whether all are float32."""
    return all(tensor.dtype is torch.float32 for tensor in tensors)
