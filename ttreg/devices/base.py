"""What ttreg asks of a device, whichever it is."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch

Value = Any  # a tensor on the device: a ttnn.Tensor, or what stands in for one


def ttnn_dtype_name(value: Value) -> str:
    """The name of a device tensor's ttnn dtype, such as `bfloat16`."""
    return str(value.dtype).rpartition(".")[2].lower()


class RefusedByDevice(Exception):
    """A device refused one ttnn call: the call's name and the first line of the message."""

    def __init__(self, call: str, message: str):
        super().__init__(f"{call}: {message}")
        self.call, self.message = call, message


class Device(Protocol):
    """A place where lowerings run."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool
    lock: threading.RLock
    tt: Any  # the ttnn API that lowerings are given; `tt.device` is what ttnn calls take as their device

    def upload(self, host: torch.Tensor, dtype: str, row_major: bool = False) -> Value:
        """Bring a plain CPU tensor to the device as the ttnn dtype of that name, in tile layout by default."""
        ...

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device tensor back as a plain CPU tensor of its shape."""
        ...
