"""Compares a device result with the host's: Pearson correlation (PCC), largest differences, tolerances."""

from __future__ import annotations

import torch

# Relative and absolute tolerance of one op by dtype: a few roundings of the dtype (eps is 1.2e-7 and 7.8e-3).
TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (2e-2, 2e-2)}


def pcc(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson correlation of two tensors of one shape, in float64; NaN and infinities have to be at the same places.

    Where a correlation is not defined (constant or empty tensors) it is 1.0 if the values are close, else 0.0.
    """
    x, y = a.detach().double().flatten(), b.detach().double().flatten()
    finite = x.isfinite()
    if not torch.equal(finite, y.isfinite()) or not torch.equal(x[~finite].nan_to_num(), y[~finite].nan_to_num()):
        return 0.0
    x, y = x[finite], y[finite]
    if x.numel() < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return 1.0 if close(a, b) else 0.0
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x.norm() * y.norm()))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the values agree within the dtype's tolerance; integers and bools have to be equal."""
    if a.dtype not in TOLERANCES:
        return torch.equal(a, b)
    rtol, atol = TOLERANCES[a.dtype]
    return torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference; 0.0 for empty tensors."""
    return float((a.detach().double() - b.detach().double()).abs().max()) if a.numel() else 0.0
