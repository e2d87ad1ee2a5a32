"""Operands of elementwise ops that are expanded views: ttnn spreads them by itself, so no value of the view is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..call import Call
from ..conditions import Refusal
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import Meta, intern
from ..plan import Plan
from ..registry import Entry
from ..specs import Source, Through
from .session import Session


@dataclass(frozen=True)
class _Unexpanded(Through):
    meta: Meta

    def value(self, source: Source, argument: Any) -> Any:
        if type(argument) is DeviceTensor and argument._cell.device_value(self.meta, None) is not None:
            argument = DeviceTensor.make(argument._cell, self.meta)
        return self.of.value(source, argument)


def unexpand(session: Session, plan: Plan, call: Call, args: tuple, kwargs: dict[str, Any]) -> None:
    """Let operands arrive without their repetitions, where the others spread them and the entry takes them so too.

    Only those that are promoted together: such ops take operands of any sizes that fit.
    """
    entry, given = plan.entry, {slot.name: slot.of(args, kwargs) for slot in plan.slots}
    if entry is None or not plan.elementwise or len(plan.slots) < 2 or len(plan.outputs) != 1:
        return
    if any(name not in entry.promoted or not isinstance(tensor, torch.Tensor) for name, tensor in given.items()):
        return
    metas = {name: metadata_of(tensor) for name, tensor in given.items()}
    for slot in plan.slots:
        small, tensor = _without_repetitions(metas[slot.name]), given[slot.name]
        if small is metas[slot.name] or not slot.arrival.of_values or not _is_held(session, tensor):
            continue
        others = {**metas, slot.name: small}
        spread = torch.broadcast_shapes(*(meta.shape for meta in others.values()))
        if spread == plan.outputs[0].shape and _refusal(session, entry, call, others) is None:
            metas, slot.arrival = others, _Unexpanded(slot.arrival, small)


def _is_held(session: Session, tensor: torch.Tensor) -> bool:
    return type(tensor) is DeviceTensor and session.holds(tensor)


def _refusal(session: Session, entry: Entry, call: Call, metas: dict[str, Meta]) -> Refusal | None:
    return entry.refuse(entry.in_common_dtype(Call(call.op, {**call.arguments, **metas})), session.carriers.narrow)


def _without_repetitions(meta: Meta) -> Meta:
    """The metadata of what the view repeats: of itself, if it repeats nothing."""
    if 0 not in meta.stride:
        return meta
    shape = tuple(1 if stride == 0 else size for size, stride in zip(meta.shape, meta.stride, strict=True))
    if shape == meta.shape:
        return meta
    return intern(meta.dtype, shape, meta.stride, meta.offset)
