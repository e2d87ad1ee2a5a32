"""Shows on a terminal that weights go to the device or that programs are compiled, while that takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from .forks import new_rlock

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds: what is over sooner is not shown, and what has gone on for so long without more is taken for over.
_SHORT, _OVER = 0.5, 1.0


class Tells(Protocol):
    """What tells of weights that were brought to a device, or of programs that it got."""

    told: Callable[[int], None] | None


class Activity:
    """What a session's device is busy with. It is shown on stderr, and leaves nothing there when it is over."""

    def __init__(self) -> None:
        self._lock = new_rlock()
        self._begun = 0.0
        self._nbytes = self._programs = 0
        self._total: int | None = None
        self._shown: Progress | None = None
        self._tasks: tuple[Any, ...] = ()
        self._timer: threading.Timer | None = None

    def expect(self, nbytes: int) -> None:
        """Show from now on how many of so many bytes of weights have gone to the device, until `end`."""
        with self._lock:
            self.end()
            self._begun, self._total = perf_counter(), nbytes

    def weight(self, nbytes: int) -> None:
        """Note that a weight has gone to the device."""
        with self._lock:
            self._note(nbytes, 0)

    def programs(self, count: int) -> None:
        """Note that the device has got new programs."""
        with self._lock:
            self._note(0, count)

    def end(self) -> None:
        """Show nothing more, until something is noted again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._shown is not None:
                self._shown.stop()
            self._shown = self._timer = self._total = None
            self._nbytes = self._programs = 0
            self._begun = 0.0

    def _note(self, nbytes: int, programs: int) -> None:
        now = perf_counter()
        self._begun = self._begun or now
        self._nbytes += nbytes
        self._programs += programs
        if now - self._begun < _SHORT:
            return
        if self._shown is None:
            self._show()
        assert self._shown is not None
        weights, compiled = self._tasks
        self._shown.update(weights, completed=self._nbytes, total=self._total, visible=self._nbytes > 0)
        self._shown.update(compiled, description=f"{self._programs} new programs", visible=self._programs > 0)
        if self._total is None:
            self._end_later()

    def _show(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)
        self._shown = Progress(*columns, console=_console(), transient=True)
        self._tasks = (
            self._shown.add_task("weights to the device", total=self._total),
            self._shown.add_task("", total=None, visible=False),
        )
        self._shown.start()

    def _end_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(_OVER, self.end)
        self._timer.daemon = True
        self._timer.start()


def activity(wanted: bool, weights: Tells, programs: Tells | None) -> Activity | None:
    """What shows a session's activity, as it is told; None if that is not wanted, or where nobody would see it."""
    if not (wanted and (_is_terminal(sys.stderr) or "ipykernel" in sys.modules)):
        return None
    shown = Activity()
    weights.told = shown.weight
    if programs is not None:
        programs.told = shown.programs
    return shown


def _is_terminal(stream: Any) -> bool:
    return stream is not None and hasattr(stream, "isatty") and stream.isatty()


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
