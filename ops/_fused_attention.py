"""Attention by ttnn's fused kernel, which holds no matrix of scores: where it is asked for, or saves much memory."""

from __future__ import annotations

import math
from typing import Any

from .vocabulary import accurate, as_shape, cut, reduce

INF = math.inf
TILE = 32

# From so many bytes on, a matrix of scores in float32 is not held where attention="auto": 32 heads of 1024 tokens.
MOST_OF_SCORES = 2**27


def is_fused(tt: Any, query: Any, key: Any, value: Any, is_causal: bool, attn_mask: Any) -> bool:
    """Whether ttnn's kernel takes the call, and is wanted for it."""
    if tt.attention == "exact" or not _fits(tt, query, key, value, is_causal, attn_mask):
        return False
    batch, heads, queries, width = query.shape
    if batch * heads * queries * key.shape[2] * 4 > MOST_OF_SCORES:
        return True
    return tt.attention == "fused" and width % TILE == 0  # padding heads takes as many calls as it saves


def _fits(tt: Any, query: Any, key: Any, value: Any, is_causal: bool, attn_mask: Any) -> bool:
    if any(x.dtype != tt.bfloat16 for x in (query, key, value)) or query.shape[3] != value.shape[3]:
        return False
    if is_causal:
        return attn_mask is None and query.shape[2] == key.shape[2]
    return attn_mask is None or attn_mask.dtype == tt.bfloat16


def fused(
    tt: Any,
    query: Any,
    key: Any,
    value: Any,
    is_causal: bool,
    attn_mask: Any,
    scale: float | None,
    hides_all: bool = True,
) -> Any:
    """What each query takes of the values; 0 if every key is hidden from it, as on CPU.

    `hides_all`: whether the mask may do that.
    """
    width = query.shape[3]
    missing = -width % TILE
    if missing:
        query, key, value = (tt.pad(x, [(0, 0)] * 3 + [(0, missing)], 0) for x in (query, key, value))
    mask = None if attn_mask is None else _spread(tt, attn_mask, query.shape[2])
    made = tt.transformer.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask if mask is None or key.shape[2] % TILE == 0 else tt.fill_implicit_tile_padding(mask, -INF),
        is_causal=is_causal,
        scale=1 / math.sqrt(width) if scale is None else scale,
        compute_kernel_config=accurate(tt),
    )
    made = cut(tt, made, 3, 0, width)
    if attn_mask is None or not hides_all:
        return made
    return tt.where(tt.eq(reduce(tt, "max", mask, -1, keepdim=True), -INF), 0.0, made)


def _spread(tt: Any, mask: Any, queries: int) -> Any:
    """The mask in four dimensions, with a row for each query: the kernel repeats it over batches and heads alone."""
    shape = [1] * (4 - len(mask.shape)) + list(mask.shape)
    mask = as_shape(tt, mask, shape)
    return tt.repeat(mask, [1, 1, queries, 1]) if shape[2] != queries else mask
