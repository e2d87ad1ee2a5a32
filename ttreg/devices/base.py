"""The interface of all devices."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Value = Any  # a tensor on the device: a ttnn.Tensor, or what stands in for one


def ttnn_dtype_name(value: Value) -> str:
    """The name of a device tensor's ttnn dtype, such as `bfloat16`."""
    return str(value.dtype).rpartition(".")[2].lower()


class Namespace:
    """A module of ttnn below the first, such as `ttnn.transformer`, as an API has it: a name there is a dotted one."""

    def __init__(self, api: Any, name: str):
        self._api, self._name = api, name

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._api, f"{self._name}.{name}")
        setattr(self, name, attribute)
        return attribute


class KeptWeights:
    """Prepared kernels and biases of `ttnn.conv2d`, by the rest of the call; the oldest are dropped first.

    Without preparation, ttnn moves the kernel to the host and back at every call.
    """

    LIMIT = 8

    def __init__(self) -> None:
        self._kept: dict[tuple, tuple[Value, tuple[Value, Value]]] = {}

    def find(self, call: tuple, bias: Value) -> tuple[Value, Value] | None:
        """The kernel and bias kept for a call like this one, if the bias is the same."""
        kept = self._kept.get(call)
        return kept[1] if kept is not None and kept[0] is bias else None

    def values(self) -> list[Value]:
        """All that is kept."""
        return [value for _, prepared in list(self._kept.values()) for value in prepared]

    def keep(self, call: tuple, bias: Value, prepared: tuple[Value, Value]) -> None:
        """Keep what ttnn made of the kernel and the bias."""
        self._kept[call] = bias, prepared
        if len(self._kept) > self.LIMIT:
            del self._kept[next(iter(self._kept))]


class RefusedByDevice(Exception):
    """A device refused one ttnn call: the call's name and the first line of the message."""

    def __init__(self, call: str, message: str):
        super().__init__(f"{call}: {message}")
        self.call, self.message = call, message
        self.more = ""  # what the session adds for the program

    @property
    def out_of_memory(self) -> bool:
        """Whether ttnn's allocator found no room."""
        return "Out of Memory" in self.message


@dataclass
class Loss:
    """What a session lost with its device: the tensors whose only copy it had. `told` once the program knows."""

    names: tuple[str, ...] = ()
    told: bool = False


class LostDevice(RefusedByDevice):
    """A device hangs or has vanished: whatever it held is lost, and no more calls of it can succeed."""

    def __init__(self, call: str, message: str):
        super().__init__(call, message)
        self.loss = Loss()


class Device(Protocol):
    """A place where lowerings run."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool
    chip_numerics: bool  # whether its values are those of a chip's kernels, or a model of them
    lock: threading.RLock
    tt: Any  # the ttnn API that lowerings are given; `tt.device` is what ttnn calls take as their device

    def upload(self, host: torch.Tensor, dtype: str, row_major: bool = False) -> Value:
        """Bring a plain CPU tensor to the device as the ttnn dtype of that name, in tile layout by default."""
        ...

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device tensor back as a plain CPU tensor of its shape."""
        ...
