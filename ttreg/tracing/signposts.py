"""Marks in a profile of the device, for tt-perf-report: whose calls come next."""

from __future__ import annotations

import threading

from ..devices.base import Device
from ..places import Place


class Signposts:
    """Puts a signpost wherever the calls of another module begin. Calls of the emulated device reach no profiler."""

    def __init__(self, device: Device):
        self._on = device.name != "emulated"
        self._lock = threading.Lock()
        self._last = ""

    def pass_by(self, place: Place) -> None:
        """Put a signpost if the place is in another module than the last one: its path, and the line of the program."""
        if not self._on:
            return
        header = place.module or place.where
        with self._lock:
            if header == self._last:
                return
            self._last = header
        import ttnn

        # As `tracy.signpost` of ttnn 0.81.1 does, which also logs each one.
        ttnn.tracy_message(f"`TT_SIGNPOST: {header}\n{place.where}`")
