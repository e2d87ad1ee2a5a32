"""How the packer changes a kernel's results on their way from a core's registers to its memory."""

from __future__ import annotations

from typing import Any

import torch
import ttnn

from ..tensor import stored
from .bits import to_bfloat16

# These copy their input bit by bit, without the packer.
_COPIES = frozenset(
    (
        *("reshape", "slice", "concat", "gather", "embedding", "moreh_getitem"),
        *("transformer.split_query_key_value_and_split_heads", "transformer.concatenate_heads"),
    )
)
# The packer gets their results in float32 and rounds halves away from 0. Other kernels round before, halves to even.
_ROUNDED_BY_THE_PACKER = frozenset(
    (
        *("matmul", "linear", "conv2d", "softmax", "layer_norm", "batch_norm", "add", "subtract", "rsub"),
        "transformer.scaled_dot_product_attention",
    )
)


def packed(name: str, values: torch.Tensor, dtype: Any) -> torch.Tensor:
    """The results of `ttnn.<name>` as a device tensor of ttnn dtype `dtype` holds them."""
    if dtype == ttnn.bfloat16 and values.is_floating_point() and name not in _COPIES:
        return to_bfloat16(values.float(), halves_to_even=name not in _ROUNDED_BY_THE_PACKER)
    return stored(values, dtype)
