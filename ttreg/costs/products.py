"""How many operations of the matrix unit a ttnn call needs: of products, convolutions and attention."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

_TILE = 32


def flops_of(name: str, args: tuple, kwargs: dict[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Multiplications and additions, each counted; 0 for calls that the matrix unit is not made for.

    The unit works on whole tiles, so products count the padding too. How ttnn pads the channels of an image depends on
    how it cuts the image, so convolutions count none.
    """
    if not inputs or not outputs:
        return 0
    if name in ("matmul", "linear") and len(inputs) > 1:
        transposed = kwargs.get("transpose_a", args[2] if name == "matmul" and len(args) > 2 else False)
        return _product(inputs[0].shape, outputs[0].shape, bool(transposed))
    if name in ("conv1d", "conv2d"):
        return 2 * prod(outputs[0].shape) * _taps(kwargs) * kwargs["in_channels"] // kwargs.get("groups", 1)
    if name == "conv_transpose2d":
        return 2 * prod(inputs[0].shape) * _taps(kwargs) * kwargs["out_channels"] // kwargs.get("groups", 1)
    if name == "scaled_dot_product_attention" and len(inputs) > 2:
        return _attention(inputs[0].shape, inputs[1].shape, bool(kwargs.get("is_causal", True)))
    return 0


def _product(a: tuple[int, ...], out: tuple[int, ...], transposed: bool) -> int:
    rows, inner = (1, *a)[-2:]
    if transposed:
        inner = rows
    *batch, rows, columns = (1, 1, *out)
    return 2 * prod(batch) * _padded(rows) * _padded(inner) * _padded(columns)


def _taps(kwargs: dict[str, Any]) -> int:
    size = kwargs["kernel_size"]
    return size if isinstance(size, int) else prod(size)


def _attention(query: tuple[int, ...], key: tuple[int, ...], causal: bool) -> int:
    """Two products: of queries with keys, and of their weights with the values; about half of each if causal."""
    *batch, queries, size = query
    whole = 4 * prod(batch) * _padded(queries) * _padded(key[-2]) * _padded(size)
    return whole // 2 if causal else whole


def _padded(size: int) -> int:
    return -(-size // _TILE) * _TILE
