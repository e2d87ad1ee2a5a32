"""Values that a program made with ttnn itself, brought to the form in which sessions hold values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..carriers import TORCH_DTYPES
from ..devices.base import Value, ttnn_dtype_name
from ..meta import Meta, in_rows
from .block_floats import BLOCK_FLOATS

if TYPE_CHECKING:
    from .api import Api
    from .session import Session

_TORCH_DTYPES = TORCH_DTYPES | dict.fromkeys(BLOCK_FLOATS, torch.bfloat16)


def torch_dtype(session: Session, value: Value, like: tuple[torch.dtype, ...] = ()) -> torch.dtype:
    """The dtype of a tensor with this value: one of those `like` it if ttnn carries that so, else ttnn's own."""
    name = ttnn_dtype_name(value)
    return next((dtype for dtype in like if session.carriers.get(dtype) == name), None) or _TORCH_DTYPES[name]


def as_held(session: Session, value: Value, dtype: torch.dtype) -> tuple[Meta, Value]:
    """The value as a session holds that of a tensor of this dtype, with the tensor's metadata.

    A value that is in tile layout, in the dtype that carries it, and in the chip's DRAM is the very same object.
    Raises TypeError for what is no tensor of ttnn, ValueError for a dtype that the device does not carry.
    """
    if isinstance(value, torch.Tensor) or not (hasattr(value, "layout") and hasattr(value, "shape")):
        raise TypeError(f"expected a tensor of ttnn, got {type(value).__name__}")
    if dtype not in session.carriers:
        raise ValueError(f"{dtype} has no ttnn dtype; ask for another one, and convert the tensor afterwards")
    shape = tuple(value.shape)
    if 0 in shape:
        raise ValueError(f"a value of shape {list(shape)} has no elements, and ttnn holds none")
    return in_rows(dtype, shape), _converted(session.tt, value, dtype, session.carriers[dtype])


def _converted(tt: Api, value: Value, dtype: torch.dtype, carrier: str) -> Value:
    if "HOST" in str(value.storage_type()).upper():
        value = tt.to_device(value, tt.device)
    if value.memory_config() != tt.DRAM_MEMORY_CONFIG:
        value = tt.to_memory_config(value, tt.DRAM_MEMORY_CONFIG)
    value = tt.to_layout(value, tt.TILE_LAYOUT)
    name = ttnn_dtype_name(value)
    if dtype is torch.bool:
        return _true(tt, value, name)
    if carrier == "int32" and name == "uint16":
        value = tt.typecast(value, tt.uint32)
    return value if name == carrier else tt.typecast(value, getattr(tt, carrier))


def _true(tt: Api, value: Value, name: str) -> Value:
    """1 where the value is not 0, in the dtype that carries bools."""
    if name not in ("bfloat16", "float32"):
        value = tt.typecast(value, tt.float32)
        name = "float32"
    made = tt.nez(value)
    return made if name == "bfloat16" else tt.typecast(made, tt.bfloat16)
