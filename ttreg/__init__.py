"""Any PyTorch code on Tenstorrent hardware, op by op: `with ttreg.device_mode() as session: ...`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .block_floats import carry_in
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
from .mode import device_mode
from .registry import cpu_only, decomposed, lower, registry
from .session import Session
from .tensor import DeviceTensor

if TYPE_CHECKING:
    from .report import Report

aten = torch.ops.aten


def __getattr__(name: str) -> Any:
    # The report brings pydantic and rich, which an import of ttreg does without.
    if name == "Report":
        from .report import Report

        return Report
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
    "cpu_only",
    "decomposed",
    "device_mode",
    "lower",
    "registry",
]
