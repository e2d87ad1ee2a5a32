"""add, subtract and rsub. The matrix unit computes them, except for two float32 tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .bits import to_bfloat16
from .elements import added, subtracted
from .table import Values, float32, kernel


def _on_the_unit(compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Values], Values]:
    def make(golden: Values) -> Values:
        def values(a: torch.Tensor, b: torch.Tensor | float, *args: Any, **given: Any) -> torch.Tensor:
            plain = not args and set(given) <= {"dtype", "fast_and_approximate_mode"}
            tensors = [value for value in (a, b) if isinstance(value, torch.Tensor)]
            if not plain or float32(*tensors) or not all(value.is_floating_point() for value in tensors):
                return golden(a, b, *args, **given)
            return compute(*(torch.as_tensor(value, dtype=torch.float32) for value in (a, b)))

        return values

    return make


kernel("add")(_on_the_unit(added))
kernel("subtract")(_on_the_unit(subtracted))
kernel("rsub")(_on_the_unit(lambda a, b: added(b, to_bfloat16(-a).float())))  # the first is negated and packed
