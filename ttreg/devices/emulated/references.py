"""ttreg's own references, where ttnn's golden function is missing, does not run, or takes other arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import ttnn

REFERENCES: dict[str, Callable[..., Any]] = {}


def reference(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Use the decorated function, on torch tensors, as the values of `ttnn.<name>`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        REFERENCES[name] = function
        return function

    return decorate


@reference("linear")
def _linear(a: torch.Tensor, b: torch.Tensor, *, bias: torch.Tensor | None = None, **rest: Any) -> torch.Tensor:
    """ttnn's golden function takes a bias of two elements for a matrix of two rows, and refuses it."""
    product = _matmul(a, b, **rest)
    return product if bias is None else product + bias


@reference("matmul")
def _matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dtype: Any = None,
    activation: Any = None,
    compute_kernel_config: Any = None,
) -> torch.Tensor:
    """ttnn's golden function always rounds to the factors' dtype; the device sums in float32, and heeds `dtype`."""
    a, b = a.mT if transpose_a else a, b.mT if transpose_b else b
    return activated(a.float() @ b.float(), activation)


def activated(values: torch.Tensor, activation: Any) -> torch.Tensor:
    """The values of a product, times the number that `activation` (a `ttnn.UnaryWithParam`) asks for, if it does."""
    if activation is None:
        return values
    if getattr(activation, "op_type", None) != ttnn.UnaryOpType.MUL_UNARY_SFPU:
        raise TypeError(f"no lowering uses the activation {activation}")
    return values * activation.params[0]


# They make steps of one tensor on either operand first, which their golden functions leave out.
OF_TWO = ("add", "subtract", "multiply")


def after_steps(function: Callable[..., Any], chain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of two tensors after the steps that a call asks for on each, by `ttnn.unary_chain`'s function."""

    def call(
        a: Any,
        b: Any,
        *rest: Any,
        input_tensor_a_activations: Any = (),
        input_tensor_b_activations: Any = (),
        **named: Any,
    ) -> Any:
        if input_tensor_a_activations:
            a = chain(a, input_tensor_a_activations).to(a.dtype)
        if input_tensor_b_activations:
            b = chain(b, input_tensor_b_activations).to(b.dtype)
        return function(a, b, *rest, **named)

    return call


@reference("typecast")
def _typecast(values: torch.Tensor, dtype: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's needs the source's ttnn dtype, which a torch tensor lacks; the cast itself happens when it is stored."""
    return values


@reference("to_layout")
def _to_layout(values: torch.Tensor, layout: Any = None, **_: Any) -> torch.Tensor:
    """ttnn's takes no keyword `layout`; values do not change."""
    return values


@reference("scatter")
def _scatter(
    values: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, reduce: str | None = None
) -> torch.Tensor:
    """ttnn's golden function ignores `reduce`."""
    index = index.to(torch.int64)
    if reduce is None:
        return values.scatter(dim, index, source)
    return values.scatter_reduce(dim, index, source, {"add": "sum", "multiply": "prod"}[reduce])


@reference("max_pool2d")
def _max_pool2d(
    values: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    *,
    ceil_mode: bool = False,
    dtype: Any = None,
    output_layout: Any = None,
    memory_config: Any = None,
) -> torch.Tensor:
    """ttnn's golden function needs a package of ttnn's own repository."""
    images = values.reshape(batch_size, input_h, input_w, channels).permute(0, 3, 1, 2)
    best = torch.nn.functional.max_pool2d(images, kernel_size, stride, padding, dilation, ceil_mode)
    return best.permute(0, 2, 3, 1).reshape(1, 1, -1, channels)


@reference("experimental.nlp_create_qkv_heads")
def _nlp_create_qkv_heads(
    rows: torch.Tensor,
    key_values: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
) -> list[torch.Tensor]:
    """ttnn has no golden function of it."""
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if key_values is not None:
        rows = torch.cat([rows, key_values], dim=-1)
    batch, _, length, _ = rows.shape
    heads = rows.reshape(batch, length, num_heads + 2 * num_kv_heads, -1).transpose(1, 2)
    query, key, value = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return [query, key.mT if transpose_k_heads else key, value]


@reference("experimental.nlp_concat_heads")
def _nlp_concat_heads(heads: torch.Tensor) -> torch.Tensor:
    """ttnn has no golden function of it."""
    return heads.transpose(1, 2).flatten(2).unsqueeze(1)


@reference("experimental.rotary_embedding_hf")
def _rotary_embedding_hf(
    heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, compute_kernel_config: Any = None
) -> torch.Tensor:
    """ttnn has no golden function of it; this is its form for a whole sequence, a row of `cos` for each token."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin


@reference("transformer.scaled_dot_product_attention")
def _scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    attn_mask: torch.Tensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
    compute_kernel_config: Any = None,
) -> torch.Tensor:
    """ttnn's golden function rounds the scores, and takes no heads that share a key."""
    query, key, value = query.float(), key.float(), value.float()
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        None if attn_mask is None else attn_mask.float(),
        is_causal=is_causal,
        scale=scale,
        enable_gqa=True,
    )


@reference("fill_implicit_tile_padding")
def _fill_implicit_tile_padding(values: torch.Tensor, fill_value: float) -> torch.Tensor:
    """What is filled is no value of the tensor."""
    return values


@reference("transformer.split_query_key_value_and_split_heads")
def _split_heads(
    rows: torch.Tensor,
    key_values: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int,
    transpose_key: bool = True,
) -> list[torch.Tensor]:
    """ttnn's golden function takes no separate keys and values."""
    made = _nlp_create_qkv_heads(
        rows[:, None],
        None if key_values is None else key_values[:, None],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        transpose_k_heads=transpose_key,
    )
    return [heads.contiguous() for heads in made]
