"""Runs a model with one fault of the device, and says how it ended."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

import ttreg

from .device import Fault, Opened
from .programs import MODELS

SETTINGS: dict[str, Any] = {"device": "emulated", "min_upload_numel": 0}


@dataclass(frozen=True)
class End:
    """How a program ended: "right", "error", or what is wrong with it; with the error's text, and what was lost."""

    how: str
    text: str = ""
    lost: tuple[str, ...] = ()


def calls_of(opened: Opened, name: str, wanted: str) -> list[str]:
    """The device calls that a model makes when nothing fails."""
    opened.fails(None, -1)
    with ttreg.device_mode(**SETTINGS, on_device_error=wanted) as session:
        MODELS[name]()(session)
    return opened.devices[0].kinds


def tried(opened: Opened, name: str, fault: Fault, at: int, wanted: str, expected: list[torch.Tensor]) -> End:
    """Run the model with a fault at one call, and hold the promises."""
    opened.fails(fault, at)
    logging.disable()  # what a record tells of an exception, pytest keeps
    end = _ended(name, wanted, expected)
    logging.disable(logging.NOTSET)
    device = opened.devices[0]
    if not device.failed:
        return End(f"the fault did not come at call {at}")
    gc.collect()
    left = [value for value in gc.get_objects() if type(value).__name__ == "EmulatedTensor"]
    if left and end.how in ("right", "error"):
        return End(f"{len(left)} values are left on the device: {end}")
    return end


def then_works(opened: Opened, name: str, expected: list[torch.Tensor]) -> bool:
    """Whether the next session gives the right result, without a fault."""
    for device in opened.devices:
        device.fault = None
    return _ended(name, "raise", expected).how == "right"


def _ended(name: str, wanted: str, expected: list[torch.Tensor]) -> End:
    run: Callable[[Any], Any] = MODELS[name]()
    try:
        with ttreg.device_mode(**SETTINGS, on_device_error=wanted) as session:
            result = run(session)
    except ttreg.DeviceError as error:
        return End("error", str(error), error.lost)
    except Exception as error:
        return End(f"raised {type(error).__name__}: {error}")
    for made, right in zip(result, expected, strict=True):
        with suppress(AssertionError):
            torch.testing.assert_close(made, right, rtol=1e-4, atol=1e-5)
            continue
        return End("a wrong value")
    return End("right")


def on_cpu(name: str) -> list[torch.Tensor]:
    """What the model gives without ttreg."""
    return MODELS[name]()(None)
