"""All public names of `ttreg`. The package imports this module when a program first uses one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .blocks.enabled import disable, enable
from .blocks.load import load
from .blocks.mode import device_mode
from .blocks.recorded import record, recorded
from .blocks.ttnn_function import ttnn_function
from .blocks.values import from_ttnn, to_ttnn
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
    WeightsError,
)
from .memory.tensor import DeviceTensor
from .registry import cpu_only, decomposed, lower
from .runtime.block_floats import carry_in
from .runtime.session import Session
from .versions import require_installed_ttnn

if TYPE_CHECKING:
    from .blocks.compile import compile_session
    from .report import Report

require_installed_ttnn()  # of torch, `pytorch_private` has told

aten = torch.ops.aten


def __getattr__(name: str) -> Any:
    # The report imports pydantic and rich, and the backend imports AOTAutograd. Many programs need neither.
    if name == "Report":
        from .report import Report

        return Report
    if name == "compile_session":
        from .blocks.compile import compile_session

        return compile_session
    raise AttributeError(f"module {__package__!r} has no attribute {name!r}")


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
    "WeightsError",
    "aten",
    "carry_in",
    "compile_session",
    "cpu_only",
    "decomposed",
    "device_mode",
    "disable",
    "enable",
    "from_ttnn",
    "load",
    "lower",
    "record",
    "recorded",
    "to_ttnn",
    "ttnn_function",
]
