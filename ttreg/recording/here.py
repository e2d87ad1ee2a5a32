"""The line of the program that is running."""

from __future__ import annotations

import linecache
import sys
from types import FrameType


def here() -> str:
    """File, number and text of the innermost line outside of PyTorch and ttreg; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "ttreg", "contextlib"):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return f"{file}:{number}: {linecache.getline(file, number).strip()}"
        frame = frame.f_back
    return ""
