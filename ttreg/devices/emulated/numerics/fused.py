"""softmax and norms, which are one kernel each in ttnn, step by step with the precision of the registers."""

from __future__ import annotations

from typing import Any

import torch

from .bits import cut, to_bfloat16
from .elements import KEPT, added, multiplied, subtracted
from .products import matrix_product, phases
from .table import Values, kernel


@kernel("softmax")
def _softmax(_: Values) -> Values:
    """ttnn has a kernel for rows, one for columns, and one for the other dimensions. They differ in how they sum."""

    def softmax(
        values: torch.Tensor, dim: int = -1, *, compute_kernel_config: Any = None, numeric_stable: bool = False
    ) -> torch.Tensor:
        del numeric_stable  # without it, ttnn gives other values where exponentials overflow
        from_the_end = -1 if not values.ndim else dim % values.ndim - values.ndim
        rows = values.float().movedim(dim, -1) if values.ndim else values.float().reshape(1)
        differences = subtracted(rows, rows.amax(-1, keepdim=True))
        if from_the_end == -1:
            exponentials = differences.exp()
            total = _sums(exponentials, compute_kernel_config)
        else:
            exponentials = cut(differences, KEPT).exp()  # a register holds the differences in between
            if from_the_end == -2:
                total = _sums_of_columns(exponentials, compute_kernel_config)
            else:
                total = cut(_added_in_turn(exponentials), KEPT)
        made = multiplied(exponentials, total.reciprocal())
        return made.movedim(-1, dim) if values.ndim else made.reshape(())

    return softmax


@kernel("layer_norm")
def _layer_norm(_: Values) -> Values:
    def layer_norm(
        values: torch.Tensor,
        *,
        epsilon: float = 1e-12,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        compute_kernel_config: Any = None,
    ) -> torch.Tensor:
        rows = values.float()
        part = 1 / torch.tensor(float(rows.shape[-1]), dtype=torch.float32)
        centred = subtracted(rows, _sums(rows, compute_kernel_config) * part)
        variance = _sums(multiplied(centred, centred), compute_kernel_config) * part
        made = multiplied(centred, added(variance, torch.tensor(epsilon, dtype=torch.float32)).rsqrt())
        if weight is not None:
            made = multiplied(made, weight.float().flatten())
        return made if bias is None else added(made, bias.float().flatten())

    return layer_norm


@kernel("batch_norm")
def _batch_norm(golden: Values) -> Values:
    """In float32 this kernel does not use the matrix unit."""

    def batch_norm(values: torch.Tensor, **given: Any) -> torch.Tensor:
        return golden(values, **given) if values.dtype is torch.float32 else of_bfloat16(values, **given)

    def of_bfloat16(
        values: torch.Tensor,
        *,
        running_mean: torch.Tensor,
        running_var: torch.Tensor,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        eps: float = 1e-5,
        **_: Any,
    ) -> torch.Tensor:
        deviation = to_bfloat16(added(running_var.float(), torch.tensor(eps, dtype=torch.float32)).rsqrt()).float()
        made = multiplied(subtracted(values.float(), running_mean.float()), deviation)
        if weight is not None:
            made = multiplied(made, weight.float())
        return made if bias is None else added(to_bfloat16(made).float(), bias.float())

    return batch_norm


def _sums(rows: torch.Tensor, config: Any) -> torch.Tensor:
    """The sum of each row, computed as a product with ones."""
    ones = rows.new_ones(rows.shape[-1], 1)
    return matrix_product(rows.reshape(-1, rows.shape[-1]), ones, phases(config, True)).reshape(*rows.shape[:-1], 1)


def _sums_of_columns(columns: torch.Tensor, config: Any) -> torch.Tensor:
    """The sum of each column, which lies in the last dimension here: a product in which the ones come first."""
    ones = columns.new_ones(1, columns.shape[-1])
    made = matrix_product(ones, columns.reshape(-1, columns.shape[-1]).T, phases(config, True))
    return made.reshape(*columns.shape[:-1], 1)


def _added_in_turn(rows: torch.Tensor) -> torch.Tensor:
    """The sum along the last dimension, one element after the other."""
    first, *rest = rows.split(1, -1)
    total = cut(first, KEPT)
    for each in rest:
        total = added(total, each)
    return total
