"""`visualizer=`: a report for ttnn-visualizer, which ttnn itself writes of the calls that reach it."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ..devices.base import Device
from ..errors import SettingsError
from ..places import NO_PROGRAMS, RUNNERS

_CAPTURE = "graph_capture.json"  # which ttnn writes first, and makes the database from

# Whose frames say nothing about the program.


class Capture:
    """Has ttnn note each of its calls, from now on: arguments, tensors, buffers, and lines of Python.

    Raises SettingsError for a device whose calls do not reach ttnn, for a folder that cannot be written to, and while
    ttnn notes calls for someone else.
    """

    def __init__(self, folder: str, device: Device):
        from ttnn import graph

        if device.name == "emulated" and not device.validated:
            raise SettingsError(
                "visualizer needs calls of ttnn: use a chip, device='mock', or validate=True with the emulated device"
            )
        if graph.is_graph_capture_active():
            raise SettingsError("visualizer: another session of this process is writing such a report, or the program")
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _CAPTURE).write_text("")
        except OSError as error:
            raise SettingsError(f"visualizer: {folder} cannot be written to: {error}") from None
        self._graph: Any = graph
        self._stack, graph._capture_python_stack_trace = graph._capture_python_stack_trace, _lines_of_the_program
        graph.enable_python_stack_traces()
        with _without_messages():
            graph.begin_graph_capture(graph.RunMode.NORMAL)

    def end(self) -> None:
        """Write the database `db.sqlite`. One of an earlier run in the folder is replaced."""
        graph, capture = self._graph, self.folder / _CAPTURE
        graph.disable_python_stack_traces()
        graph._capture_python_stack_trace = self._stack
        with _without_messages():
            graph.end_graph_capture_to_file(str(capture))
            (self.folder / "db.sqlite").unlink(missing_ok=True)
            graph.import_report(capture, self.folder)
        for file in self.folder.glob(f"{capture.stem}*"):
            file.unlink()


def _lines_of_the_program() -> list[str]:
    """The lines of Python that lead to the present call, the innermost first, in the form of a traceback."""
    frame: FrameType | None = sys._getframe(1)
    lines = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in RUNNERS:
            break
        if name.partition(".")[0] not in NO_PROGRAMS:
            code, number = frame.f_code, frame.f_lineno
            text = linecache.getline(code.co_filename, number).strip()
            lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}\n    {text}\n')
        frame = frame.f_back
    return lines


@contextmanager
def _without_messages() -> Iterator[None]:
    """While open, ttnn does not log what it reports and how much it has written."""
    from loguru import logger

    for name in ("ttnn.graph", "ttnn.graph_report"):
        logger.disable(name)
    try:
        yield
    finally:
        for name in ("ttnn.graph", "ttnn.graph_report"):
            logger.enable(name)
