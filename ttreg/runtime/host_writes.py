"""Writes to the host's memory of what the device computes: an optimizer's step on parameters, gradients to be sent.

What such a call reads is on the device, and the result has to be in the host's memory when it ends. So either the
operands come down, or the result does.
"""

from __future__ import annotations

from typing import Any

import torch

from ..devices.base import Value
from ..memory import watch
from ..memory.tensor import DeviceTensor
from ..meta import meta_of
from ..modes import without_any_modes
from ..plan import Plan
from .asked import Asked
from .session import Session

_COPY = torch.ops.aten.copy_.default


def may_come_down(asked: Asked, plan: Plan, target: torch.Tensor) -> bool:
    """Whether the device computes what an elementwise op writes to a plain tensor: if no more moves than otherwise.

    A dtype that the device holds in a narrower one is for the host, whose memory keeps all of its bits.
    """
    session = asked.session
    if isinstance(target, DeviceTensor) or len(plan.written) > 1 or not plan.elementwise or plan.op is _COPY:
        return False
    if target.dtype in session.carriers.narrow or not target.is_floating_point() or not target.is_contiguous():
        return False
    given = [tensor for slot in plan.tensors for tensor in slot.tensors(asked.args, asked.kwargs)]
    held = [tensor for tensor in given if isinstance(tensor, DeviceTensor) and session.holds(tensor)]
    return sum(tensor._meta.nbytes for tensor in held) >= target.nbytes > 0


def shares_memory(plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether another plain argument shows other elements of the target's storage. PyTorch may refuse such a call."""
    target = plan.targets(args, kwargs)[0]
    storage, meta = watch.storage_of(target)._cdata, meta_of(target)
    return any(
        not isinstance(tensor, DeviceTensor)
        and tensor is not target
        and watch.storage_of(tensor)._cdata == storage
        and meta_of(tensor) is not meta
        for slot in plan.slots
        for tensor in slot.tensors(args, kwargs)
    )


def bring_down(session: Session, value: Value, target: torch.Tensor) -> None:
    """Write a device value to a plain tensor."""
    made = session.download(value)
    with torch.no_grad(), without_any_modes():
        target.copy_(made.view(target.shape))
    watch.written(target)
