"""`to_ttnn` and `from_ttnn`: a tensor's value as ttnn has it, and a tensor of such a value."""

from __future__ import annotations

from typing import Any

import torch

from ..devices.base import RefusedByDevice, Value
from ..devices.redirect import emulated_outside
from ..errors import DeviceError
from ..memory.reads import given_away
from ..meta import dtype_name
from ..modes import without_modes
from ..runtime.given import as_held, torch_dtype
from ..runtime.int64 import TooLarge
from ..runtime.session import Session
from .dispatching import block_of_thread


def to_ttnn(tensor: torch.Tensor, *, copy: bool = False) -> Value:
    """The value of a tensor as ttnn has it, in the block that this thread is in.

    It is in tile layout and in the chip's DRAM, in the dtype that carries the tensor's: the very value that the tensor
    has on the device, or that its upload has, if there is one. So it may be read only, also by ttnn's functions that
    write in place or deallocate; with `copy` it is the program's own. A later write to the tensor does not reach it.
    It is valid until the block ends, also after the tensor is gone. Autograd does not follow it.

    Raises DeviceError outside of blocks, ValueError for a dtype that the device does not carry, for int64 values that
    int32 does not hold, and for a tensor without elements.
    """
    session = _session("to_ttnn")
    if tensor.dtype not in session.carriers:
        raise ValueError(f"{dtype_name(tensor.dtype)} has no ttnn dtype; convert the tensor first")
    if not tensor.numel():
        raise ValueError("a tensor without elements has no value on the device")
    with without_modes(), session.device.lock:
        try:
            value = session.value(given_away(tensor), block_float=True)
            return session.tt.clone(value) if copy else value
        except TooLarge:
            raise ValueError("the device carries int64 as int32, which some values are too large for") from None
        except RefusedByDevice as refused:
            raise DeviceError(f"to_ttnn: ttnn refused {refused}") from refused


def from_ttnn(value: Value, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor with a ttnn tensor's value, in the block that this thread is in.

    Without `dtype`, the tensor has the value's own (bfloat16 for a block float). The value may be in any layout and
    memory; if it is in tile layout, in DRAM and in the dtype that carries the tensor's, the tensor takes it over as it
    is, so that nobody else may write to it or deallocate it from then on. With bool, what is not 0 is True.

    Raises DeviceError outside of blocks, TypeError for what is no tensor of ttnn, ValueError for a dtype that the
    device does not carry.
    """
    session = _session("from_ttnn")
    with without_modes(), session.device.lock:
        try:
            if dtype is None and hasattr(value, "dtype") and not isinstance(value, torch.Tensor):
                dtype = torch_dtype(session, value)
            meta, held = as_held(session, value, dtype or torch.float32)
        except RefusedByDevice as refused:
            raise DeviceError(f"from_ttnn: ttnn refused {refused}") from refused
        return given_away(session.new_tensor(meta, held))


def _session(what: str) -> Session:
    block = block_of_thread()
    if block is None:
        raise DeviceError(f"ttreg.{what} works in a block of ttreg.device_mode, on the device of that block")
    emulated_outside(_api_of_block)
    return block.session


def _api_of_block() -> Any:
    block = block_of_thread()
    return None if block is None else block.session.tt._ttnn
