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


def seen(tensor: Any) -> Any:
    """The tensor, whose content the program reads."""
    if of_thread.reader is not None:
        of_thread.reader.read_of(tensor)
    return tensor


def given_away(tensor: Any) -> Any:
    """The tensor, whose memory other code gets."""
    if of_thread.reader is not None:
        of_thread.reader.given_away(tensor)
    return tensor
