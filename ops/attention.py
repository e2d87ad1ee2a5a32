"""Scaled dot-product attention, composed of exact parts: ttnn's own takes no float32 and few head sizes."""

from __future__ import annotations

import functools
import math

import torch

from ..call import Call, describe
from ..conditions import FLOATS, Check, Dtype, Is, SameDtype
from ..registry import decomposed, lower
from ..samples import Sample, bools, rand
from ._compute import accurate, cast
from .matmul import product
from .softmax import log_sum_exp

aten = torch.ops.aten

INF = math.inf


def heads(dtype=torch.float32, queries=5, keys=7, key_heads=4, size=8, value_size=8):
    return (
        rand(2, 4, queries, size, dtype=dtype),
        rand(2, key_heads, keys, size, dtype=dtype),
        rand(2, key_heads, keys, value_size, dtype=dtype),
    )


def mask(*shape, dtype=torch.float32, hidden_row=None):
    """A mask to add: -inf where a key is hidden, and a bias elsewhere; of `hidden_row`, all keys are."""
    bias = rand(*shape, dtype=dtype).masked_fill(bools(*shape), -INF)
    bias[..., 0] = 0.5
    if hidden_row is not None:
        bias[..., hidden_row, :] = -INF
    return bias


def attention_samples():
    for dtype in FLOATS:
        yield Sample(*heads(dtype))
        yield Sample(*heads(dtype, queries=40, keys=33, size=32, value_size=32))
        yield Sample(*heads(dtype), is_causal=True)
        yield Sample(*heads(dtype), attn_mask=mask(5, 7, dtype=dtype, hidden_row=1))
        yield Sample(*heads(dtype), attn_mask=mask(2, 1, 1, 7, dtype=dtype), scale=0.5)
        yield Sample(*heads(dtype, key_heads=2), attn_mask=mask(2, 4, 5, 7, dtype=dtype))
        yield Sample(*heads(dtype, key_heads=1), is_causal=True)
    # CPU's logsumexp of bfloat16 queries is 5e-5 off the true one, which shows where it is small.
    yield Sample(*heads(queries=33, keys=40), is_causal=True, scale=0.3)
    yield Sample(*heads(torch.bfloat16), attn_mask=mask(5, 7))
    yield Sample(*heads(), dropout_p=0.1)
    yield Sample(*heads(torch.float64))
    query, key, value = heads()
    yield Sample(query, key.bfloat16(), value.bfloat16())
    yield Sample(query, key[:1], value[:1])


def same_batch(call: Call) -> str | None:
    shapes = [call[name].shape for name in ("query", "key", "value")]
    q, k, v = shapes
    fit = q[0] == k[0] == v[0] and k[1] == v[1] and q[1] % k[1] == 0 and q[3] == k[3] and k[2] == v[2]
    return None if fit else ", ".join(map(describe, shapes))


@lower(
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    samples=attention_samples,
    when=[
        Dtype(("query", "key", "value", "attn_mask"), FLOATS),
        SameDtype(("query", "key", "value")),
        Is("dropout_p", 0.0, because="random numbers come from the host's generator"),
        Check("query, key and value have one batch, and query a multiple of their heads", same_batch),
    ],
)
def attention(tt, query, key, value, is_causal, attn_mask, scale):
    batch, query_heads, queries, size = query.shape
    key_heads, keys = key.shape[1:3]
    # The queries of all heads that share a key stand below each other: neither keys nor values are repeated.
    grouped = [batch, key_heads, query_heads // key_heads * queries]
    scores = product(tt, tt.reshape(query, [*grouped, size]), key, transpose_b=True, dtype=tt.float32)
    scores = tt.reshape(scores, [batch, query_heads, queries, keys])
    scores = tt.multiply(scores, 1 / math.sqrt(size) if scale is None else scale)
    if is_causal:
        scores = tt.where(tt.constant(causal(queries, keys)), scores, -INF)
    if attn_mask is not None:
        scores = tt.add(scores, attn_mask)
    weights = tt.softmax(scores, dim=-1, numeric_stable=True, compute_kernel_config=accurate(tt))
    if attn_mask is not None:
        weights = tt.where(nothing_seen(tt, scores), 0.0, weights)
    weights = cast(tt, tt.reshape(weights, [*grouped, keys]), value.dtype)
    output = tt.reshape(product(tt, weights, value), [batch, query_heads, queries, value.shape[-1]])

    def logsumexp():
        result = log_sum_exp(tt, scores, -1, keepdim=True)
        if attn_mask is not None:
            result = tt.where(nothing_seen(tt, scores), 0.0, result)
        return cast(tt, tt.reshape(result, [batch, query_heads, queries]), tt.carrier(torch.float32))

    return output, logsumexp


def nothing_seen(tt, scores):
    """The queries from which every key is hidden: CPU gives 0 for them, where softmax gives NaN."""
    return tt.eq(tt.max(scores, dim=-1, keepdim=True, compute_kernel_config=accurate(tt)), -INF)


@functools.lru_cache(maxsize=64)
def causal(queries: int, keys: int) -> torch.Tensor:
    """1 where a query sees a key: at its own place and before."""
    return torch.ones(1, 1, queries, keys).tril()


def whole_attention_samples():
    query, key, value = heads()
    yield Sample(query, key, value, is_causal=True)
    yield Sample(query[0], key[0], value[0], attn_mask=bools(5, 7))
    yield Sample(*heads(key_heads=2), enable_gqa=True)


decomposed(
    aten.scaled_dot_product_attention.default,
    because="PyTorch makes a mask of numbers and four dimensions for the op that computes",
    samples=whole_attention_samples,
)
