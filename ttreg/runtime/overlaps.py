"""Calls that write to memory which another of their arguments shows."""

from __future__ import annotations

from typing import Any

import torch

from ..memory.parts import apart
from ..memory.tensor import DeviceTensor
from ..plan import Plan

_COPY = torch.ops.aten.copy_.default


def overlapping(plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether another argument shares elements with the op's target. PyTorch may refuse such a call."""
    targets: list[Any] = plan.targets(args, kwargs)
    for slot in plan.slots:
        may_be_the_same = plan.elementwise or slot in plan.written
        for tensor in slot.tensors(args, kwargs):
            for target in targets:
                if not isinstance(tensor, DeviceTensor) or tensor._cell is not target._cell:
                    continue
                if tensor._meta == target._meta:
                    if not may_be_the_same:
                        return True
                elif not apart(tensor._meta, target._meta, target._cell.root):
                    return True
    return False


def copies_itself(plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a tensor is copied over itself, as Python does at the end of `x[:, 1:] += y`: nothing changes then."""
    if plan.op is not _COPY:
        return False
    target, source = (slot.of(args, kwargs) for slot in plan.tensors)
    return isinstance(source, DeviceTensor) and source._cell is target._cell and source._meta is target._meta
