"""Tells whoever records a thread's calls what the program reads of a tensor without an aten call."""

from __future__ import annotations

import threading
from typing import Any, Protocol


class Reader(Protocol):
    """What sees the reads."""

    def read_of(self, tensor: Any) -> None:
        """The program reads the content."""
        ...

    def given_away(self, tensor: Any) -> None:
        """The program, or another library, gets the memory itself."""
        ...


class _OfThread(threading.local):
    reader: Reader | None = None


of_thread = _OfThread()
