"""Reports a fallback to the program, as the setting `on_fallback` says."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import FallbackError
from ..refusal import Refusal
from ..settings import Settings


def complain(settings: Settings, op: Any, refusal: Refusal, call: Callable[[], str]) -> None:
    """Warn of a fallback, or raise FallbackError, as `on_fallback` says."""
    if settings.on_fallback == "allow":
        return
    message = f"{op} fell back to the host: {refusal}; the call was {call()}"
    if settings.on_fallback == "raise":
        raise FallbackError(message)
    warnings.warn(message, stacklevel=_users_stacklevel())


def _users_stacklevel() -> int:
    """The `stacklevel` that makes the caller's warning point at the first frame outside PyTorch and ttreg."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "ttreg"):
        frame, level = frame.f_back, level + 1
    return level
