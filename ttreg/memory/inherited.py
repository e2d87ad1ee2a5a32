"""The parent's device in a forked process, where it cannot be used: only the parent may use it."""

from __future__ import annotations

from typing import Any, NoReturn

from ..devices.base import Device
from ..errors import DeviceError
from ..forks import new_rlock


class _NotHere:
    def __getattr__(self, _: str) -> NoReturn:
        not_here()


class InheritedDevice:
    """Stands for the parent's device: it has the same name, and any use of it raises DeviceError."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool
    chip_numerics: bool

    def __init__(self, device: Device):
        for name in ("name", "arch", "ttnn_version", "validated", "chip_numerics"):
            setattr(self, name, getattr(device, name, ""))  # a device that only serves to decide calls has no names
        self.lock = new_rlock()
        self.tt: Any = _NotHere()
        self.parents = device  # kept alive, since its finalizer would close the device for the parent

    def upload(self, *_: Any, **__: Any) -> NoReturn:
        """See `Device.upload`."""
        not_here()

    def download(self, *_: Any, **__: Any) -> NoReturn:
        """See `Device.download`."""
        not_here()


def not_here() -> NoReturn:
    """Raise DeviceError for what only the parent process can do."""
    raise DeviceError(
        "this process was forked from one that has the device open, and only that one can use it: bring the tensor to "
        "the host before the process starts (tensor.tolist(), tensor.numpy(), or the end of the block), or start the "
        'process with multiprocessing\'s "spawn" or "forkserver" method'
    )
