"""Any PyTorch code on Tenstorrent hardware, op by op: `with ttreg.device_mode() as session: ...`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from .errors import (
    AccuracyError,
    DeviceError,
    DeviceUnavailableError,
    FallbackError,
    LoweringError,
    RegistryError,
    SettingsError,
    TtregError,
    ValidationError,
)
from .registry import cpu_only, decomposed, lower, registry
from .runtime.block_floats import carry_in
from .runtime.mode import device_mode
from .runtime.session import Session
from .runtime.tensor import DeviceTensor

if TYPE_CHECKING:
    from .hooks.compile import compile_session
    from .report import Report

aten = torch.ops.aten

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is the program's to show


def __getattr__(name: str) -> Any:
    # The report brings pydantic and rich, and the backend AOTAutograd, which an import of ttreg does without.
    if name == "Report":
        from .report import Report

        return Report
    if name == "compile_session":
        from .hooks.compile import compile_session

        return compile_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AccuracyError",
    "DeviceError",
    "DeviceTensor",
    "DeviceUnavailableError",
    "FallbackError",
    "LoweringError",
    "RegistryError",
    "Report",
    "Session",
    "SettingsError",
    "TtregError",
    "ValidationError",
    "aten",
    "carry_in",
    "compile_session",
    "cpu_only",
    "decomposed",
    "device_mode",
    "lower",
    "registry",
]
