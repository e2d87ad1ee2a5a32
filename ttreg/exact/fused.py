"""softmax and layer_norm of float32 values, composed of their steps, because the fused kernels use the matrix unit."""

from __future__ import annotations

from typing import Any

Value = Any


def softmax(tt: Any, x: Value, dim: int) -> Value:
    """Within 4e-7 of each value. Infinities and NaN give the same results as in PyTorch."""
    powers = tt.exp(tt.subtract(x, tt.max(x, dim=dim, keepdim=True)))
    return tt.divide(powers, tt.sum(powers, dim=dim, keepdim=True))


def layer_norm(tt: Any, x: Value, epsilon: float, weight: Value | None, bias: Value | None) -> Value:
    """Within 1e-6. If the mean is many deviations from 0, the caller has to subtract it first."""
    centred = tt.subtract(x, tt.mean(x, dim=-1, keepdim=True))
    variance = tt.mean(tt.square(centred), dim=-1, keepdim=True)
    made = tt.multiply(centred, tt.rsqrt(tt.add(variance, epsilon)))
    made = made if weight is None else tt.multiply(made, weight)
    return made if bias is None else tt.add(made, bias)
