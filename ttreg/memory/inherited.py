"""Devices that cannot be used: the parent's in a forked process, and one that answers no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..devices.base import Device
from ..errors import DeviceError
from ..forks import new_rlock


class _NotHere:
    def __init__(self, refuse: Callable[[], NoReturn]):
        self._refuse = refuse

    def __getattr__(self, _: str) -> NoReturn:
        self._refuse()


class AbsentDevice:
    """Stands for a device that cannot be used: it has the same name, and `refuse` raises for any use of it."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool
    chip_numerics: bool

    def __init__(self, device: Device, refuse: Callable[[], NoReturn], lock: Any):
        for name in ("name", "arch", "ttnn_version", "validated", "chip_numerics"):
            setattr(self, name, getattr(device, name, ""))  # a device that only serves to decide calls has no names
        self.lock, self._refuse = lock, refuse
        self.tt: Any = _NotHere(refuse)
        self.stands_for = device  # kept alive, since a parent's finalizer would close the device for the parent

    def upload(self, *_: Any, **__: Any) -> NoReturn:
        """See `Device.upload`."""
        self._refuse()

    def download(self, *_: Any, **__: Any) -> NoReturn:
        """See `Device.download`."""
        self._refuse()


def inherited_device(device: Device) -> AbsentDevice:
    """What stands for the parent's device in a forked process; any use of it raises DeviceError."""
    return AbsentDevice(device, not_here, new_rlock())


def not_here() -> NoReturn:
    """Raise DeviceError for what only the parent process can do."""
    raise DeviceError(
        "this process was forked from one that has the device open, and only that one can use it: bring the tensor to "
        "the host before the process starts (tensor.tolist(), tensor.numpy(), or the end of the block), or start the "
        'process with multiprocessing\'s "spawn" or "forkserver" method'
    )
