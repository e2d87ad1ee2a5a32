"""What the hand-written models are built of: weights prepared once, and the ttnn calls of a layer.

Rows of numbers lie in four dimensions, (1, 1, rows, width), as ttnn's functions for heads take them.
"""

from __future__ import annotations

import math
from typing import Any

import torch

Value = Any  # a tensor of the device
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Place:
    """A device to write models for, the functions to call, and the dtype to work in."""

    def __init__(self, device: Any, tt: Any, dtype: str):
        self.device, self.tt, self.dtype = device, tt, dtype
        self.emulated = device.name == "emulated"
        # As ttreg sets it: sums in float32, and factors as the matrix unit takes them.
        self.accurate = tt.WormholeComputeKernelConfig(
            math_fidelity=tt.MathFidelity.HiFi3, math_approx_mode=False, fp32_dest_acc_en=True, packer_l1_acc=True
        )

    def upload(self, tensor: torch.Tensor, row_major: bool = False) -> Value:
        """A tensor of the device, in the models' dtype."""
        return self.device.upload(tensor.detach().to(DTYPES[self.dtype]), self.dtype, row_major)

    def row(self, tensor: torch.Tensor) -> Value:
        """Numbers for each column."""
        return self.upload(tensor.reshape(1, 1, 1, -1))

    def download(self, value: Value) -> torch.Tensor:
        """A tensor of the host."""
        return self.device.download(value)


class Linear:
    """A product with a weight that was transposed once."""

    def __init__(self, place: Place, weight: torch.Tensor, bias: torch.Tensor | None = None):
        """`weight` as `torch.nn.Linear` has it."""
        self.place, self.weight = place, place.upload(weight.T.contiguous())
        self.bias = None if bias is None else place.upload(bias.reshape(1, -1))

    @classmethod
    def of(cls, place: Place, module: Any) -> Linear:
        """That of PyTorch's module."""
        return cls(place, module.weight, module.bias)

    def __call__(self, x: Value) -> Value:
        return self.place.tt.linear(x, self.weight, bias=self.bias, compute_kernel_config=self.place.accurate)


class LayerNorm:
    """Rows by their own mean and deviation, in one call."""

    def __init__(self, place: Place, module: Any):
        self.place, self.epsilon = place, module.eps
        self.weight, self.bias = place.upload(module.weight.reshape(1, -1)), place.upload(module.bias.reshape(1, -1))

    def __call__(self, x: Value) -> Value:
        tt, weight, bias, accurate = self.place.tt, self.weight, self.bias, self.place.accurate
        return tt.layer_norm(x, epsilon=self.epsilon, weight=weight, bias=bias, compute_kernel_config=accurate)


class Embedding:
    """Rows of a table. ttnn.embedding has bfloat16 alone, so those of float32 are moved as the int32 of their bits."""

    def __init__(self, place: Place, table: torch.Tensor):
        self.place, self.wide = place, place.dtype == "float32"
        if self.wide:
            self.table = place.device.upload(table.detach().view(torch.int32), "int32", row_major=True)
        else:
            self.table = place.upload(table, row_major=True)

    def index(self, places: torch.Tensor) -> Value:
        """Which rows to take, on the device."""
        if self.wide:
            return self.place.device.upload(places.reshape(-1).int(), "int32", row_major=True)
        return self.place.device.upload(places.reshape(1, -1), "uint32", row_major=True)

    def __call__(self, index: Value) -> Value:
        tt, table = self.place.tt, self.table
        if self.wide:
            rows = tt.to_layout(tt.moreh_getitem(table, [index], [0]), tt.TILE_LAYOUT)
            rows = tt.bitcast(rows, tt.float32)
        else:
            rows = tt.embedding(index, table, layout=tt.TILE_LAYOUT)
        return tt.reshape(rows, [1, 1, index.shape[-1], table.shape[-1]])


class Heads:
    """A layer's queries, keys and values, taken apart into heads and attended with."""

    def __init__(self, place: Place, heads: int, key_heads: int, size: int):
        self.place, self.heads, self.key_heads, self.size = place, heads, key_heads, size

    def of_one(self, rows: Value, heads: int) -> Value:
        """The heads of queries, keys or values alone."""
        create = self.place.tt.experimental.nlp_create_qkv_heads
        return create(rows, num_heads=heads, num_kv_heads=0, transpose_k_heads=False)[0]

    def of_three(self, rows: Value) -> list[Value]:
        """Those of all three, which lie side by side."""
        create = self.place.tt.experimental.nlp_create_qkv_heads
        return list(create(rows, num_heads=self.heads, num_kv_heads=self.key_heads, transpose_k_heads=False))

    def attend(self, query: Value, key: Value, value: Value, mask: Value = None) -> Value:
        """What each query takes of the values, head by head."""
        tt, accurate = self.place.tt, self.place.accurate
        scores = tt.matmul(query, key, transpose_b=True, compute_kernel_config=accurate)
        weights = tt.transformer.attention_softmax(scores, head_size=self.size, attention_mask=mask)
        return tt.matmul(weights, value, compute_kernel_config=accurate)

    def together(self, heads: Value) -> Value:
        """Heads side by side again."""
        return self.place.tt.experimental.nlp_concat_heads(heads)


class Cache:
    """Keys and values of a fixed number of tokens, each written where it belongs; later ones are masked."""

    def __init__(self, place: Place, heads: Heads, length: int):
        empty = torch.zeros(1, heads.key_heads, length, heads.size)
        self.place, self.keys, self.values = place, place.upload(empty), place.upload(empty)

    def update(self, key: Value, value: Value, position: int) -> tuple[Value, Value]:
        """All keys and values, with these at their position."""
        update = self.place.tt.update_cache
        return update(self.keys, key, position), update(self.values, value, position)


def masks(place: Place, length: int) -> list[Value]:
    """For each position, what to add to scores so that later places of a cache are not seen."""
    return [place.row(row) for row in torch.full((length, length), -math.inf).triu(1)]
