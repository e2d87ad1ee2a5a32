"""Decides where a call goes: the entry's conditions, then a decomposition, then the host."""

from __future__ import annotations

from typing import Any

import torch

from ..conditions import InParts
from ..fallback import decompose
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import Meta
from ..plan import Plan
from ..pytorch_private import OpOverload, tree_leaves
from ..refusal import (
    DATA_DEPENDENT,
    EMPTY,
    LEFT_FOR_LATER,
    NO_DECOMPOSITION,
    NO_ENTRY,
    NO_META,
    WRITES_BY_PARTS,
    Refusal,
)
from ..registry import Entry
from ..schema import (
    functional_form,
    has_cpu_kernel,
    has_parts,
    is_composite,
    is_elementwise,
    is_tracked,
    is_view,
    leaves_counting,
    unread_arguments,
    view_form,
)
from .acceptance import entry_refusal, keep_taken, prepare, refuse
from .asked import Asked
from .entries import OwnEntry
from .rehearsal import refuse_views
from .session import Session
from .ttnn_ops import TTNN_OPS, plan_of

_CONVERTED = torch.ops.aten._to_copy.default
LAZY = (torch.ops.aten._conj.default, torch.ops.aten._neg_view.default)


def decide(session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Plan:
    """The plan for every call with this signature."""
    asked = Asked(session, op, args, kwargs)
    plan = _described(asked)
    if op in TTNN_OPS:
        return plan_of(asked, plan)
    if is_composite(op) and asked.writes and not is_tracked(op):
        plan.placement, plan.refusal = "decomposed", WRITES_BY_PARTS
        return plan
    plan.view_form = view_form(op)
    if plan.view_form is not None:
        if asked.outputs_of(plan.view_form) is None:
            plan.refusal = asked.without_outputs()
        else:
            plan.placement = "view"
        return plan
    plan.entry = entry = session.entries.find(op)
    if is_view(op) and not (is_composite(op) and entry is None):
        return _decide_view(asked, plan)
    plan.refusal = _refusal(asked, plan)
    if plan.refusal is None and prepare(asked, plan):
        plan.placement = "device" if _worth_uploading(asked, plan) else "local"
    elif entry is not None and _replaced(entry, plan.refusal):
        plan.placement = "host" if plan.refusal in (NO_DECOMPOSITION, NO_META, DATA_DEPENDENT) else "decomposed"
    elif is_composite(op) and (entry is None or (entry.kind == "device" and not has_cpu_kernel(op))):
        plan.placement = "decomposed"
    plan.converts_small = op is _CONVERTED and plan.placement == "host" and not _worth_uploading(asked, plan)
    return plan


def _described(asked: Asked) -> Plan:
    """A plan for the host, with the facts about the call that hold wherever it runs."""
    op, args, kwargs = asked.op, asked.args, asked.kwargs
    slots = asked.slots()
    constants = {name: value for name, value in asked.bound.items() if name not in {slot.name for slot in slots}}
    metas = [metadata_of(tensor) for slot in slots for tensor in slot.tensors(args, kwargs)]
    reads = [slot for slot in slots if slot.name not in unread_arguments(op)]
    read = [meta.dtype for slot in reads for meta in map(metadata_of, slot.tensors(args, kwargs)) if meta.numel]
    return Plan(
        op,
        "host",
        constants=constants,
        tensors=slots,
        slots=slots,
        written=[slot for slot in slots if slot.name in asked.writes],
        uncounted=leaves_counting(op),
        has_parts=has_parts(op),
        elementwise=is_elementwise(functional_form(op) or op),
        floating=any(dtype.is_floating_point for dtype in read),
        no_dtype=any(_no_dtype(asked.session, dtype) for dtype in (*read, *constants.values())),
        complex=any(meta.dtype.is_complex for meta in metas),
        nbytes=sum(meta.nbytes for meta in metas),
        plain=not any(isinstance(leaf, DeviceTensor) for leaf in tree_leaves((args, kwargs))),
    )


def _refusal(asked: Asked, plan: Plan) -> Refusal | None:
    """Return why the device does not run this op; or fill in the plan's outputs and return None."""
    entry = plan.entry
    if entry is None:
        return NO_ENTRY
    if entry.kind == "device":
        return refuse(asked, plan, entry)
    if entry.kind == "decomposed" and not decompose.can_run(asked.op):
        return NO_DECOMPOSITION
    if entry.kind == "decomposed" and asked.outputs.metas is None:
        return asked.without_outputs()  # a decomposition would raise another error than the op
    return entry.conditions[0].refuse(asked.call)


def _replaced(entry: Entry, refusal: Refusal | None) -> bool:
    """Whether the call is replaced by its parts: every call of such an op, or one that only `InParts` refuses."""
    last = entry.conditions[-1] if entry.conditions else None
    return entry.kind == "decomposed" or (
        isinstance(last, InParts) and refusal is not None and refusal.condition == str(last)
    )


def _no_dtype(session: Session, value: Any) -> bool:
    """Whether the value has a floating-point dtype that ttnn lacks: float64 or float16."""
    return isinstance(value, torch.dtype) and value.is_floating_point and value not in session.carriers


def _worth_uploading(asked: Asked, plan: Plan) -> bool:
    session = asked.session
    if isinstance(plan.entry, OwnEntry):  # who asks for a lowering wants to see it run
        return True
    tensors = [tensor for slot in plan.tensors for tensor in slot.tensors(asked.args, asked.kwargs)]
    if any(isinstance(t, DeviceTensor) and session.holds(t) for t in tensors):
        return True
    metas: list[Meta] = [metadata_of(tensor) for tensor in tensors] or plan.outputs
    return max((meta.numel for meta in metas), default=0) >= session.settings.min_upload_numel


def _decide_view(asked: Asked, plan: Plan) -> Plan:
    plan.placement = "view"
    first = next((tensor for slot in plan.slots for tensor in slot.tensors(asked.args, asked.kwargs)), None)
    if first is None:
        plan.placement, plan.refusal = "host", NO_META
        return plan
    if not isinstance(first, DeviceTensor):
        return plan  # PyTorch itself makes a plain tensor's view
    if plan.op in LAZY:
        plan.placement, plan.refusal = "host", LEFT_FOR_LATER
        return plan
    outputs, plan.returns_list, _ = asked.outputs
    if outputs is None:
        plan.placement, plan.refusal = "host", asked.without_outputs()
        return plan
    plan.outputs, plan.view_end = outputs, max((meta.end for meta in outputs), default=0)
    if plan.entry is None:
        plan.refusal = NO_ENTRY
    elif not all(meta.numel for meta in outputs):
        plan.refusal = EMPTY
    else:
        plan.refusal = entry_refusal(asked.session, plan.entry, asked.call) or refuse_views(asked.session, outputs)
        if plan.refusal is None:
            keep_taken(plan, plan.entry)
    return plan
