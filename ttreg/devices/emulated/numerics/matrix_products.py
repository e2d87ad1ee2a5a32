"""matmul and linear."""

from __future__ import annotations

from typing import Any

import torch

from ..references import activated
from .elements import added
from .products import phases, product
from .table import Values, float32, kernel


@kernel("matmul")
def _matmul(_: Values) -> Values:
    return matmul


@kernel("linear")
def _linear(_: Values) -> Values:
    def linear(a: torch.Tensor, b: torch.Tensor, *, bias: torch.Tensor | None = None, **rest: Any) -> torch.Tensor:
        made = matmul(a, b, **rest)
        return made if bias is None else added(made, bias.float())

    return linear


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dtype: Any = None,
    activation: Any = None,
    compute_kernel_config: Any = None,
) -> torch.Tensor:
    """The product in float32."""
    del dtype  # the result's dtype; the packer casts to it
    a, b = a.mT if transpose_a else a, b.mT if transpose_b else b
    made = product(a.float(), b.float(), phases(compute_kernel_config, float32(a, b)))
    return activated(made, activation)
