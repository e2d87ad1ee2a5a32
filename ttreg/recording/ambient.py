"""The switches of PyTorch on which the calls of a thread depend."""

from __future__ import annotations

from typing import Any

import torch

from ..pytorch_private import deterministic

_autocast, _autocast_dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
_default_dtype, _inference = torch.get_default_dtype, torch.is_inference_mode_enabled


def ambient() -> tuple[Any, ...]:
    """Default dtype, inference mode, autocast and deterministic mode."""
    return (
        _default_dtype(),
        _inference(),
        _autocast("cpu") and _autocast_dtype("cpu"),
        deterministic(),
    )
