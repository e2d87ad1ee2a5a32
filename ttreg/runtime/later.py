"""Raises PyTorch's own exception for a refused call, and makes outputs when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..call import Call
from ..conditions import Refusal
from ..devices.base import LostDevice, RefusedByDevice, Value
from ..errors import LoweringError
from ..fallback import on_copies
from ..modes import without_modes
from ..on_demand import on_device
from ..plan import Plan
from ..pytorch_private import tree_leaves
from .refused import Failure, raise_error, reason
from .session import Session
from .ttnn_ops import TTNN_OPS


def raise_as_pytorch_would(
    session: Session,
    plan: Plan,
    args: tuple,
    kwargs: dict[str, Any],
    failure: Failure | None = None,
    read: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Run the call on the host with copies; if PyTorch raises there, raise that: the call itself is wrong.

    `read` gives a plain tensor with an argument's content; by default, its present content. A call that the device has
    no memory for is not tried: it is not wrong, and may be too large for the host too. Nor is one of a lost device.
    """
    if isinstance(failure, LostDevice) or (isinstance(failure, RefusedByDevice) and failure.out_of_memory):
        return
    if plan.op in TTNN_OPS:  # PyTorch has no such op
        return
    error = on_copies.error_of(plan.op, args, kwargs, read or session.peek)
    if error is not None:
        try:
            raise error from None
        finally:
            del error  # as above


class Later:
    """The outputs of one call that are made when first needed, from the arguments as they were at the call."""

    def __init__(self, session: Session, plan: Plan, arguments: dict[str, Any], args: tuple, kwargs: dict[str, Any]):
        self._session, self._plan = session, plan
        self._arguments, self._args, self._kwargs = arguments, args, kwargs
        # The device value of indices does not show their original values, so those are kept too.
        self._kept = {
            id(tensor): session.peek(tensor).clone()
            for slot in plan.slots
            if slot.arrival.checked
            for tensor in slot.tensors(args, kwargs)
        }

    def make(self, number: int, function: Callable[[], Value]) -> Value:
        """Make one output, with the function that the lowering returned for it."""
        session = self._session
        try:
            with session.device.lock:
                return session.recorder.run(session.recorder.work(str(self._plan.op), id(self._plan)), function)
        except (RefusedByDevice, LoweringError) as failure:
            if self._session.settings.on_device_error == "fallback":
                return self._on_host(number, reason(failure))
            raise_as_pytorch_would(self._session, self._plan, self._args, self._kwargs, failure, self._read)
            raise_error(failure, lambda: f"an output of {self._plan.op}, when it was read")

    def _on_host(self, number: int, refusal: Refusal) -> Value:
        session, plan = self._session, self._plan
        session.fell_back(plan.op, refusal, plan.floating, lambda: str(Call.bind(plan.op, self._args, self._kwargs)))
        results = on_copies.results(plan.op, self._args, self._kwargs, self._read)
        with without_modes():
            return session.brought_back([t for t in tree_leaves(results) if isinstance(t, torch.Tensor)][number])

    def _read(self, tensor: torch.Tensor) -> torch.Tensor:
        kept = self._kept.get(id(tensor))
        if kept is not None:
            return kept
        for slot in self._plan.slots:
            given, value = slot.of(self._args, self._kwargs), self._arguments[slot.name]
            for one, held in zip(given, value, strict=True) if isinstance(value, list) else [(given, value)]:
                if one is tensor and held is not None:
                    return self._session.fetch(on_device(held)).to(tensor.dtype)
        return self._session.peek(tensor)
