"""A tensor of the emulated device: values as the device would hold them, with ttnn's dtype and layout."""

from __future__ import annotations

from typing import Any

import torch
import ttnn


class EmulatedTensor:
    """What a lowering sees of a tensor: `shape`, `dtype`, `layout`; `twin` is its ttnn tensor on a mocked chip."""

    __slots__ = ("data", "dtype", "layout", "twin")

    def __init__(self, data: torch.Tensor, dtype: Any, layout: Any, twin: Any = None):
        self.data, self.dtype, self.layout, self.twin = data, dtype, layout, twin

    @property
    def shape(self) -> Any:
        """The logical shape, without tile padding, in ttnn's own type (which has no slices)."""
        return ttnn.Shape(list(self.data.shape))

    def __repr__(self) -> str:
        return f"EmulatedTensor({list(self.shape)}, {self.dtype}, {self.layout})"


_HELD_AS = {
    ttnn.bfloat16: torch.bfloat16,
    ttnn.float32: torch.float32,
    ttnn.int32: torch.int32,
    ttnn.uint32: torch.uint32,
    ttnn.uint16: torch.uint16,
    ttnn.uint8: torch.uint8,
}


def stored(values: torch.Tensor, dtype: Any, copy: bool = False) -> torch.Tensor:
    """The values as a device tensor of ttnn dtype `dtype` holds them, in a contiguous tensor."""
    if dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b):  # one exponent for 16 values: ttnn's own packing rounds them
        packed = ttnn.from_torch(values.float().contiguous(), dtype=dtype, layout=ttnn.TILE_LAYOUT)
        return ttnn.to_torch(packed).float()
    held = values.to(_HELD_AS[dtype], copy=copy)
    return held.contiguous()
