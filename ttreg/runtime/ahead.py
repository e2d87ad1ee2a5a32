"""Brings a layer's weights to the device before the first call of the layer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeGuard

import torch

from ..devices.base import RefusedByDevice
from .decide import decide
from .refused import raise_error
from .session import Session

if TYPE_CHECKING:
    from ..weights.files import Stored

_ROWS = 32  # of activations, to decide a call with; weights arrive in the same form for any number


def is_known(layer: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """Whether it is known in which form a layer takes its weights: one that makes nothing but a product with them."""
    return type(layer).forward is torch.nn.Linear.forward and "weight" in layer._parameters


def bring_ahead(session: Session, layer: torch.nn.Linear, stored: dict[int, Stored]) -> None:
    """Bring a layer's weights to the device, as its calls will want them; `stored` by the ids of parameters.

    Those of a layer whose calls are not for the device stay where they are.
    """
    weight, bias = layer.weight, layer.bias
    call = (torch.empty(1, _ROWS, weight.shape[1], dtype=weight.dtype, device="meta"), weight, bias)
    plan = decide(session, torch.ops.aten.linear.default, call, {})
    if plan.placement != "device":
        return
    with ExitStack() as stack:
        for parameter in (weight, bias):
            if id(parameter) in stored:
                stack.enter_context(session.weights.loading(parameter, stored[id(parameter)]))
        for slot in plan.slots[1:]:
            try:
                slot.arrival.value(session, slot.of(call, {}))
            except RefusedByDevice as refused:
                raise_error(refused, lambda name=slot.name: f"loading the {name} of {layer}")  # type: ignore[misc]
