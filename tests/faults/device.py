"""The emulated device, which fails by plan at its n-th call: an upload, a ttnn operation, or a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ttreg import devices
from ttreg.devices import chip
from ttreg.devices.emulated.device import EmulatedDevice

# What ttnn raises: each is a RuntimeError, of which the first line tells the kinds apart.
REFUSED = "TT_FATAL @ op.cpp:31: is_supported\ninfo:\nno such program\nbacktrace:\n --- a\n"
FULL = (
    "TT_FATAL @ allocator.cpp:90: false\ninfo:\nOut of Memory: Not enough space to allocate 8388608 B DRAM buffer "
    "across 12 banks, where each bank needs to store 699392 B, but bank size is 1073741792 B\n"
)
HANGS = "TT_THROW @ system_memory_manager.cpp:627: tt::exception\ninfo:\nTIMEOUT: device timeout, potential hang "
HANGS += "detected, the device is unrecoverable\n"
GONE = "Read 0xffffffff from PCIE: you should reset the board.\n"


@dataclass(frozen=True)
class Fault:
    """What goes wrong: once, or from then on until the device is opened anew; with downloads, or but for them."""

    text: str
    lasts: bool = False
    reads_too: bool = True


FAULTS = {
    "refused": Fault(REFUSED),
    "refused from then on": Fault(REFUSED, lasts=True, reads_too=False),
    "out of memory": Fault(FULL),
    "out of memory from then on": Fault(FULL, lasts=True, reads_too=False),
    "hangs": Fault(HANGS, lasts=True),
    "vanishes": Fault(GONE, lasts=True),
}


class Faulty(EmulatedDevice):
    """Fails at call `at`, of all calls since it was opened; `seen` counts them and `kinds` says what each was."""

    def __init__(self, settings: Any, fault: Fault | None = None, at: int = -1):
        super().__init__(settings, "0.81.1")
        self.fault, self.at, self.seen = fault, at, 0
        self.kinds: list[str] = []
        self.failed = 0
        self.tt: Any = _FaultyApi(self.tt, self)

    def upload(self, *args: Any, **kwargs: Any) -> Any:
        self.call("from_torch")
        return super().upload(*args, **kwargs)

    def download(self, value: Any) -> Any:
        self.call("to_torch")
        return super().download(value).clone()

    def call(self, name: str) -> None:
        """Count a call, and fail if the plan says so."""
        number, fault = self.seen, self.fault
        self.seen += 1
        self.kinds.append(name)
        if fault is None or number < self.at or (number > self.at and not fault.lasts):
            return
        if number > self.at and name == "to_torch" and not fault.reads_too:
            return
        self.failed += 1
        raise chip.refusal(f"ttnn.{name}", RuntimeError(fault.text))


class _FaultyApi:
    def __init__(self, tt: Any, device: Faulty):
        self._tt, self._device = tt, device

    @property
    def KeptWeights(self) -> Any:
        return self._tt.KeptWeights

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._tt, name)
        # Such as `ttnn.transformer`. On CPython 3.10 enums seem to have the method, but it is their metaclass's.
        if any("__getattr__" in vars(kind) for kind in type(attribute).__mro__):
            attribute = _FaultyApi(attribute, self._device)
        elif getattr(attribute, "__module__", "") == "ttreg.devices.emulated.operation" or name == "conv2d":
            attribute = self._failing(name, attribute)
        setattr(self, name, attribute)
        return attribute

    def _failing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._device.call(name)
            return function(*args, **kwargs)

        return call


class Opened:
    """Has sessions open a device of this kind, one after the other."""

    def __init__(self, monkeypatch: Any):
        self.devices: list[Faulty] = []
        self.next: tuple[Fault | None, int] = (None, -1)
        monkeypatch.setattr(devices, "_open", {})
        monkeypatch.setattr(devices, "_make", self._make)

    def _make(self, _: str, settings: Any) -> Faulty:
        fault, at = self.next
        self.next = None, -1  # the one that is opened after it works
        self.devices.append(Faulty(settings, fault, at))
        return self.devices[-1]

    def fails(self, fault: Fault | None, at: int) -> None:
        """Have the next session open a device anew, which fails at its call number `at`."""
        devices._open.clear()
        self.devices.clear()
        self.next = fault, at
