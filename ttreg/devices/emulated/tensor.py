"""A tensor of the emulated device: values as the device would hold them, with ttnn's dtype and layout."""

from __future__ import annotations

from typing import Any

import torch
import ttnn

from ...carriers import TORCH_DTYPES
from .as_ttnn import AsTtnn


class EmulatedTensor(AsTtnn):
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


_HELD_AS = {getattr(ttnn, name): dtype for name, dtype in TORCH_DTYPES.items()}
_SIGNIFICANDS = {ttnn.bfloat8_b: 7, ttnn.bfloat4_b: 3}
_PIECE = 1 << 16  # elements that are rounded at a time, so that what is made between takes no memory
_FLOAT_BITS, _LEAST = 24, -149  # of a float32: bits of its significand, and the exponent of the least number


def in_blocks(values: torch.Tensor, bits: int) -> torch.Tensor:
    """float32 values rounded to a block float: 16 values of a row share an exponent, and keep `bits` of significand.

    Equal to ttnn's own packing (`ttnn.from_torch` with a block float), which needs a chip to be open.
    """
    length = values.shape[-1]
    blocks = torch.nn.functional.pad(values, (0, -length % 16)).unflatten(-1, (-1, 16))
    largest = blocks.abs().amax(-1, keepdim=True)
    one, exponent = torch.ones_like(largest), torch.frexp(largest).exponent
    step, unit = torch.ldexp(one, exponent - bits), torch.ldexp(one, (exponent - _FLOAT_BITS).clamp(min=_LEAST))
    limit = 2.0**bits - 1
    # ttnn shifts each significand to the shared exponent first, and loses what is below the largest value's last bit.
    shifted = torch.trunc(blocks / unit) * unit
    rounded = torch.round(shifted / step).clamp(-limit, limit) * step
    return rounded.flatten(-2)[..., :length].contiguous()


def stored(values: torch.Tensor, dtype: Any, copy: bool = False) -> torch.Tensor:
    """The values as a device tensor of ttnn dtype `dtype` holds them, with any strides."""
    if dtype in _SIGNIFICANDS:
        bits = _SIGNIFICANDS[dtype]
        if values.dim() < 2 or values.numel() <= _PIECE:
            return in_blocks(values.float(), bits)
        made = torch.empty(values.shape, dtype=torch.float32)
        rows, places = values.flatten(0, -2), made.flatten(0, -2)
        many = max(_PIECE // values.shape[-1], 1)
        for piece, place in zip(rows.split(many), places.split(many), strict=True):
            place.copy_(in_blocks(piece.float(), bits))
        return made
    return values.to(_HELD_AS[dtype], copy=copy)
