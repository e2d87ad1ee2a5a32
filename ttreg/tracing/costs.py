"""What the device had to do within each event of a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..costs.recorder import Recorder
from ..costs.work import Amount, Work


class _Sum(threading.local):
    """What this thread had the device do so far."""

    def __init__(self) -> None:
        self.amount = Amount()


class TracedRecorder(Recorder):
    """A recorder that can also tell what a stretch of time in one thread cost."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._sum = _Sum()

    def run(self, unit: Work, function: Callable[..., Any], *args: Any) -> Any:
        """As `Recorder.run`."""
        try:
            return super().run(unit, function, *args)
        finally:
            if unit.last is not None:
                self._sum.amount.add(unit.last.amount)

    def begin(self) -> Amount:
        """Begin a stretch; its end gets what this returns."""
        outer, self._sum.amount = self._sum.amount, Amount()
        return outer

    def end(self, outer: Amount) -> Amount:
        """End a stretch: what the device had to do in it."""
        made, self._sum.amount = self._sum.amount, outer
        outer.add(made)
        return made


def said(made: Amount, arch: str) -> dict[str, Any]:
    """An amount for an event: the ttnn calls by name, and bytes and the bound as in `Report.cost`; nothing if none."""
    if not made.calls:
        return {}
    names: dict[str, Any] = {"device_calls": made.names}
    if made.unseen:
        return names
    moved = {"bytes_read": made.read, "bytes_written": made.written, "bytes_unpadded": made.logical}
    return names | moved | {"flops": made.flops, "bound_microseconds": round(made.in_seconds(arch) * 1e6, 3)}
