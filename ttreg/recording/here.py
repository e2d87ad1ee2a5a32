"""Lines of the program: the one that is running, and where a function is."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def here() -> str:
    """File, number and text of the innermost line outside of PyTorch and ttreg; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "ttreg", "contextlib"):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return f"{file}:{number}: {linecache.getline(file, number).strip()}"
        frame = frame.f_back
    return ""


def line_of(function: Callable[..., Any]) -> str:
    """File and number of the line where a function is, or the `forward` of a module; empty if it is not in Python."""
    function = getattr(function, "forward", function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
