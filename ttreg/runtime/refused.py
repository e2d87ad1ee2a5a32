"""Tells the program about a call that ttnn refused or whose lowering failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ..conditions import Refusal
from ..devices.base import LostDevice, RefusedByDevice
from ..errors import DeviceError, LoweringError, first_line
from ..refusal import LOWERING_FAILED, REFUSED_BY_TTNN

Failure = RefusedByDevice | LoweringError


def reason(failure: Failure) -> Refusal:
    """Why the host takes the call."""
    if isinstance(failure, LoweringError):
        return LOWERING_FAILED.with_got(first_line(failure))
    return REFUSED_BY_TTNN.with_got(failure.message)


def raise_error(failure: Failure, what: Callable[[], str]) -> NoReturn:
    """Raise the failure as an error of ttreg; `what` names the call."""
    try:
        if isinstance(failure, LoweringError):
            raise failure
        raise _device_error(failure, what()) from failure
    finally:
        del failure  # it would keep this frame alive, and all tensors of the call


def _device_error(failure: RefusedByDevice, what: str) -> DeviceError:
    error = DeviceError(f"{what}: ttnn refused {failure}{failure.more}")
    if isinstance(failure, LostDevice):
        error.lost, failure.loss.told = failure.loss.names, True
    return error
