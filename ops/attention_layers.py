"""The whole layers that `torch.nn` runs as one op at inference, in terms of ops that have entries."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..pytorch_private import native_multi_head_attention
from ..registry import decomposed
from ..samples import Sample, bools, rand

aten = torch.ops.aten

WHOLE_LAYER = "ttnn has its parts"


def attention_samples():
    weights = rand(3 * 8, 8), rand(3 * 8), rand(8, 8), rand(8)
    x, padding, mask = rand(2, 5, 8), bools(2, 5), bools(2, 2, 5, 5)
    yield Sample(x, x, x, 8, 2, *weights)
    yield Sample(x, x, x, 8, 2, *weights, None, False)
    yield Sample(x, x, x, 8, 2, *weights, padding, True, False, 1)
    yield Sample(x, x, x, 8, 2, *weights, mask, True, True, 2)
    yield Sample(x, x, x, 8, 2, *weights, bools(5, 5), False, True, 0)
    yield Sample(x, x, x, 8, 2, *weights, padding.float().log(), False, True, 1)


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> Any:
    """`aten._native_multi_head_attention` of (batch, sequence, feature) tensors.

    As in PyTorch, a mask of numbers masks where they are not 0, and a row that is masked throughout is NaN.
    """
    if query.dim() != 3 or not query.shape == key.shape == value.shape or qkv_weight.shape[0] != 3 * embed_dim:
        raise ValueError("the op is for query, key and value of one shape")  # the host raises it in PyTorch's words

    def by_head(x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, embed_dim // num_head)).transpose(1, 2)

    if query is key is value:
        q, k, v = by_head(F.linear(query, qkv_weight, qkv_bias), 3 * num_head).chunk(3, 1)
    else:
        projected = map(F.linear, (query, key, value), qkv_weight.chunk(3), qkv_bias.chunk(3))
        q, k, v = (by_head(x, num_head) for x in projected)
    weights = None
    if mask is None and not need_weights:
        attended = F.scaled_dot_product_attention(q, k, v)
    else:
        scores = (q / sqrt(embed_dim // num_head)) @ k.transpose(-1, -2)
        if mask is not None:
            masked = mask.to(torch.bool)
            scores = scores.masked_fill(masked[:, None, None] if mask_type == 1 else masked, float("-inf"))
        weights = scores.softmax(-1)
        attended = weights @ v
        weights = None if not need_weights else weights.mean(1) if average_attn_weights else weights
    return F.linear(attended.transpose(1, 2).flatten(2), proj_weight, proj_bias), weights


def layer_samples():
    weights = rand(3 * 8, 8), rand(3 * 8), rand(8, 8), rand(8)
    for use_gelu, norm_first in ((True, False), (False, True)):
        norms = rand(8), rand(8), rand(8), rand(8)
        feed_forward = rand(16, 8), rand(16), rand(8, 16), rand(8)
        layer = rand(2, 5, 8), 8, 2, *weights, use_gelu, norm_first, 1e-5, *norms, *feed_forward
        yield Sample(*layer)
        yield Sample(*layer, bools(2, 5), 1)


def transformer_encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Any:
    """`aten._transformer_encoder_layer_fwd` of a (batch, sequence, feature) tensor.

    Autocast has a rule for the attention. It gives its dtype to the sums too: PyTorch adds in place to what it gave.
    """

    def attend(x: Tensor) -> Tensor:
        projections = qkv_weight, qkv_bias, proj_weight, proj_bias
        return native_multi_head_attention(x, x, x, embed_dim, num_heads, *projections, mask, False, True, mask_type)[0]

    def add(x: Tensor, other: Tensor) -> Tensor:
        return (x + other).to(x.dtype)

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), weight, bias, eps)

    def feed_forward(x: Tensor) -> Tensor:
        hidden = F.linear(x, ffn_weight_1, ffn_bias_1)
        return F.linear(F.gelu(hidden) if use_gelu else F.relu(hidden), ffn_weight_2, ffn_bias_2)

    if norm_first:
        x = add(attend(norm(src, norm_weight_1, norm_bias_1)), src)
        return add(feed_forward(norm(x, norm_weight_2, norm_bias_2)), x)
    x = norm(add(attend(src), src), norm_weight_1, norm_bias_1)
    return norm(add(feed_forward(x), x), norm_weight_2, norm_bias_2)


decomposed(
    aten._native_multi_head_attention.default,
    because=WHOLE_LAYER,
    samples=attention_samples,
    into=multi_head_attention,
)
decomposed(
    aten._transformer_encoder_layer_fwd.default,
    because=WHOLE_LAYER,
    samples=layer_samples,
    into=transformer_encoder_layer,
)
