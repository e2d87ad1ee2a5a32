"""ttnn's functions that bring tensors to the emulated device and back, or to another memory of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import ttnn

from .. import chip
from ..base import Value
from .tensor import EmulatedTensor, stored

_OF_TORCH = {
    torch.float32: ttnn.float32,
    torch.bfloat16: ttnn.bfloat16,
    torch.int32: ttnn.int32,
    torch.int64: ttnn.uint32,  # as ttnn has it
    torch.uint8: ttnn.uint8,
}

_MOVES = ("from_device", "reallocate", "to_memory_config", "sharded_to_interleaved", "interleaved_to_sharded")


def moves(mock: chip.Chip | None) -> dict[str, Callable[..., Any]]:
    """These functions by name; with `mock`, tensors have a twin there."""

    def from_torch(tensor: torch.Tensor, dtype: Any = None, *, layout: Any = None, **_: Any) -> EmulatedTensor:
        """As `ttnn.from_torch`, always to the device: there is no other memory."""
        dtype = dtype or _OF_TORCH.get(tensor.dtype, ttnn.float32)
        blocks = dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b)
        layout = layout or (ttnn.TILE_LAYOUT if blocks else ttnn.ROW_MAJOR_LAYOUT)
        plain = tensor.detach()
        name = str(dtype).rpartition(".")[2].lower()
        twin = None if mock is None else mock.upload(plain, name, layout == ttnn.ROW_MAJOR_LAYOUT)
        return EmulatedTensor(stored(plain, dtype, copy=True), dtype, layout, twin)

    def to_torch(tensor: Value, dtype: torch.dtype | None = None, **_: Any) -> torch.Tensor:
        """As `ttnn.to_torch`, also for a tensor of ttnn's own."""
        plain = tensor.data.clone() if isinstance(tensor, EmulatedTensor) else ttnn.to_torch(tensor)
        return plain if dtype is None else plain.to(dtype)

    def to_device(tensor: Value, *_: Any, **__: Any) -> EmulatedTensor:
        """As `ttnn.to_device`."""
        if isinstance(tensor, EmulatedTensor):
            return tensor
        return from_torch(ttnn.to_torch(tensor), tensor.dtype, layout=tensor.layout)

    def moved(name: str) -> Callable[..., EmulatedTensor]:
        def move(tensor: EmulatedTensor, *args: Any, **kwargs: Any) -> EmulatedTensor:
            if mock is None or tensor.twin is None:
                return tensor
            twin = getattr(mock.tt, name)(tensor.twin, *args, **kwargs)
            return EmulatedTensor(tensor.data, tensor.dtype, tensor.layout, twin)

        return move

    def nothing(*_: Any, **__: Any) -> None:
        """Python frees the memory."""

    def empty(shape: Any, *, dtype: Any = ttnn.bfloat16, layout: Any = ttnn.ROW_MAJOR_LAYOUT, **_: Any) -> Value:
        """As `ttnn.empty`, of zeros."""
        return from_torch(torch.zeros(tuple(shape), dtype=torch.float32), dtype, layout=layout)

    def clone(tensor: EmulatedTensor, *, dtype: Any = None, **_: Any) -> EmulatedTensor:
        """As `ttnn.clone`."""
        twin = None if tensor.twin is None or mock is None else mock.tt.clone(tensor.twin, dtype=dtype)
        made = dtype or tensor.dtype
        return EmulatedTensor(stored(tensor.data, made, copy=True), made, tensor.layout, twin)

    made: dict[str, Callable[..., Any]] = {
        "from_torch": from_torch,
        "as_tensor": from_torch,
        "to_torch": to_torch,
        "to_device": to_device,
    }
    made |= {"deallocate": nothing, "synchronize_device": nothing, "empty": empty, "clone": clone}
    return made | {name: moved(name) for name in _MOVES}
