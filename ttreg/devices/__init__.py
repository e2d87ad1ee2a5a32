"""Opens the device that a session asks for; one of each kind per process, shared by all sessions."""

from __future__ import annotations

import atexit
import importlib.metadata
import importlib.util
import logging
import os
import platform
import sys
from pathlib import Path
from typing import Any

from ..errors import DeviceUnavailableError
from ..forks import new_lock
from ..settings import Settings
from ..versions import PYTHONS, TTNN
from .base import Device

_log = logging.getLogger(__name__)

_open: dict[tuple, Device] = {}
_references: list[Any] = []
_lock = new_lock()


def open_device(settings: Settings) -> Device:
    """The device of the settings, opened now or shared with earlier sessions.

    Raises DeviceUnavailableError if ttnn is missing or too old, or there is no chip where one is asked for.
    """
    kind = settings.device if settings.device != "auto" else ("ttnn" if chip_present() else "emulated")
    chip = (settings.device_id, settings.l1_small_size, settings.trace_region_size)
    if kind != "emulated":
        settings.require_kernels_of_its_own()
    key = (kind, settings.arch, settings.validate, settings.numerics, *chip)
    with _lock:
        if key not in _open:
            require_ttnn()
            _open[key] = device = _make(kind, settings)
            validated = ", validated" if device.validated else ""
            _log.info("opened %s %s, ttnn %s%s", device.name, device.arch, device.ttnn_version, validated)
        return _open[key]


def forget(device: Device) -> None:
    """Have the next session open the device anew, since it answers no more."""
    chips: list[Any] = [device, getattr(device, "_mock", None)]
    for chip in chips:
        if hasattr(chip, "lost"):
            chip.lost = True
    with _lock:
        for key in [key for key, opened in _open.items() if opened is device]:
            del _open[key]


def references() -> Any:
    """The ttnn API of the emulated device without a device: ttnn's golden functions, made once for the process."""
    with _lock:
        if not _references:
            require_ttnn()
            from .emulated.device import EmulatedApi

            _references.append(EmulatedApi(None, "golden"))
        return _references[0]


def chip_present() -> bool:
    """Whether there is a Tenstorrent chip, or a simulator is named by `TT_METAL_SIMULATOR`."""
    return bool(os.environ.get("TT_METAL_SIMULATOR")) or any(Path("/dev/tenstorrent").glob("*"))


def require_chip() -> None:
    """Raise DeviceUnavailableError if there is no chip, nor a simulator."""
    if not chip_present():
        raise DeviceUnavailableError(
            'device="ttnn" needs a Tenstorrent chip, and /dev/tenstorrent has none: install the driver (tt-kmd), name '
            'a simulator with TT_METAL_SIMULATOR, or use device="emulated", which needs no hardware'
        )


def _make(kind: str, settings: Settings) -> Device:
    # Imported here because each of these modules imports ttnn.
    if kind == "emulated":
        from .emulated.device import EmulatedDevice

        return EmulatedDevice(settings, _ttnn_version())
    if kind == "mock":
        from .chip import open_mock

        return open_mock(settings, _ttnn_version())
    require_chip()
    from .chip import open_chip

    return open_chip(settings, _ttnn_version())


def _ttnn_version() -> str:
    return importlib.metadata.version("ttnn")


def import_ttnn() -> Any:
    """The ttnn module, silent unless the user wants to hear it.

    Raises DeviceUnavailableError if it is missing or too old.
    """
    require_ttnn()
    import ttnn

    return ttnn


def require_ttnn() -> None:
    """Silence ttnn, and raise DeviceUnavailableError if it is missing or too old."""
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")  # ttnn logs its configuration when it is imported
    # It logs each refusal as "critical" and raises an exception for it too.
    os.environ.setdefault("TT_METAL_LOGGER_LEVEL", "OFF")
    if importlib.util.find_spec("ttnn") is None:
        if sys.version_info[:2] not in PYTHONS:
            raise DeviceUnavailableError(
                f"ttnn has no wheel for Python {platform.python_version()}: use CPython 3.12 or 3.10"
            )
        raise DeviceUnavailableError(f"ttnn is not installed: pip install ttnn=={TTNN.newest}")
    too_old = TTNN.refusal(_ttnn_version())
    if too_old is not None:
        raise DeviceUnavailableError(too_old)


def _forked() -> None:
    _parents.update(_open)  # kept alive, because only the parent may close them
    _open.clear()


_parents: dict[tuple, Device] = {}
os.register_at_fork(after_in_child=_forked)


@atexit.register
def _close_all() -> None:
    for device in _open.values():
        close = getattr(device, "close", None)
        if close is not None:
            close()
    _open.clear()
    _references.clear()  # ttnn complains at exit if something still refers to it
