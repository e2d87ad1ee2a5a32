"""ttnn's fused attention of bfloat16: a block of keys after the other, with an exponential that is linear in parts."""

from __future__ import annotations

import math
from typing import Any

import torch

from .bits import to_bfloat16
from .elements import subtracted
from .products import phases, product
from .table import Values, kernel

KEYS = 32  # of a block
_STEPS, _SHIFT = 256 / math.log(2), 32500.818359375  # ttnn's: so that the largest errors are 3 % both ways


@kernel("transformer.scaled_dot_product_attention")
def _attention(_: Values) -> Values:
    return attention


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    attn_mask: torch.Tensor | None = None,
    is_causal: bool = True,
    scale: float,
    compute_kernel_config: Any = None,
) -> torch.Tensor:
    """What each query takes of the values; steps between kernels' registers are in bfloat16."""
    fidelity, repeats = phases(compute_kernel_config, False), query.shape[1] // key.shape[1]
    key, value = (heads.float().repeat_interleave(repeats, 1) for heads in (key, value))
    scores = _narrowed(product(query.float(), key.mT, fidelity))
    if is_causal:
        scores = torch.where(torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), scores, -math.inf)
    if attn_mask is not None:
        scores = _narrowed(scores + attn_mask.float() / scale)
    out = total = torch.zeros((), dtype=torch.float32)
    before = torch.full((*scores.shape[:-1], 1), -math.inf, dtype=torch.float32)
    for first in range(0, scores.shape[-1], KEYS):
        block = scores[..., first : first + KEYS]
        largest = torch.maximum(block.amax(-1, keepdim=True), before)
        weights = _narrowed(_exponential(block, largest, scale))
        kept = _narrowed(_exponential(before, largest, scale))
        total = _narrowed(total * kept + weights.sum(-1, keepdim=True))
        out = _narrowed(out * kept + _narrowed(product(weights, value[..., first : first + KEYS, :], fidelity)))
        before = largest
    return _narrowed(out * _narrowed(total.reciprocal()))


def _exponential(scores: torch.Tensor, largest: torch.Tensor, scale: float) -> torch.Tensor:
    hidden = scores == -math.inf
    differences = subtracted(scores.masked_fill(hidden, 0.0), largest.masked_fill(largest == -math.inf, 0.0))
    steps = (differences * (scale * _STEPS) + _SHIFT).round().clamp(0, 65535).masked_fill(hidden, 0)
    return (steps.to(torch.int32) << 15).view(torch.float32)


def _narrowed(values: torch.Tensor) -> torch.Tensor:
    return to_bfloat16(values.float()).float()
