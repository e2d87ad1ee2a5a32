"""Decides whether the device runs a call that has an entry, and how the call's arguments arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..apart import Apart, elementwise
from ..call import Call
from ..memory.tensor import DeviceTensor, metadata_of
from ..memory.uploads import is_parameter
from ..meta import Meta, dtype_name
from ..plan import Plan
from ..refusal import EMPTY, HOST_MEMORY, NOT_CARRIED, OUT_DTYPE, PART_WRITTEN, Refusal, unjudged
from ..registry import OUT, Entry
from ..schema import argument_names, functional_form, is_in_place
from ..specs import Arrival
from .asked import Asked
from .constants import refuse_constants
from .host_writes import may_come_down
from .image_plans import of_images
from .layouts import as_on_cpu
from .leading import may_lead
from .matrices import matrix_of_call
from .rehearsal import refuse_too_large
from .rooms import may_grow
from .session import Session
from .unexpanded import unexpand
from .waiting import take_part


def refuse(asked: Asked, plan: Plan, entry: Entry) -> Refusal | None:
    """Return why the device does not run the call; or fill in the plan's outputs and arrivals and return None."""
    outputs, plan.returns_list, plan.absent = asked.outputs
    if outputs is None:
        return asked.without_outputs()
    if not plan.written:
        try:
            outputs = _returned(plan, as_on_cpu(entry, asked.call, outputs))
        except Exception as error:
            return unjudged(error)
    plan.outputs = outputs
    call = asked.as_call_of(entry)
    given = [meta for _, meta in asked.call.tensors()]
    return (
        _refuse_out(asked, outputs)
        or _refuse_empty(asked, entry, outputs)
        or refuse_constants(plan, given)
        or entry_refusal(asked.session, entry, call)
        or _set_arrivals(asked.session, plan, entry, call)
        or _refuse_writes(asked, plan, entry, call)
        or _refuse_dtypes(asked.session, outputs)
    )


def _returned(plan: Plan, outputs: Sequence[Meta | None]) -> list[Meta]:
    """The outputs that the op returns; notes in the plan where the entry says that it returns None."""
    if None in outputs:
        places = [place for place in range(len(outputs) + len(plan.absent)) if place not in plan.absent]
        missing = [place for place, meta in zip(places, outputs, strict=True) if meta is None]
        plan.absent = tuple(sorted((*plan.absent, *missing)))
    return [meta for meta in outputs if meta is not None]


def _refuse_out(asked: Asked, outputs: list[Meta]) -> Refusal | None:
    """Refuse `out=` dtypes that the kernel does not take: the shape functions of `out=` forms accept too many."""
    functional = functional_form(asked.op)
    if functional is None or is_in_place(asked.op):
        return None
    results = asked.outputs_of(functional)
    if results is None:
        return asked.without_outputs()
    odd = next((o.dtype for o, r in zip(outputs, results, strict=True) if o.dtype is not r.dtype), None)
    return None if odd is None else OUT_DTYPE.with_got(dtype_name(odd))


def _refuse_empty(asked: Asked, entry: Entry, outputs: list[Meta]) -> Refusal | None:
    def may_be_empty(name: str) -> bool:
        return name in entry.takes and entry.takes[name].may_be_empty

    full = all(meta.numel or may_be_empty(name) for name, meta in asked.call.tensors())
    return None if full and any(meta.numel for meta in outputs) else EMPTY


def _refuse_writes(asked: Asked, plan: Plan, entry: Entry, call: Call) -> Refusal | None:
    """Return why the device does not write to the call's targets. Notes in the plan a write to part of a storage."""
    session = asked.session
    for tensor in plan.targets(asked.args, asked.kwargs):
        dtype = entry.common_dtype(call)
        if dtype is not None and not torch.can_cast(dtype, tensor.dtype):
            return OUT_DTYPE.with_got(dtype_name(dtype))  # the shape function of `mul_` does not raise
        if not (isinstance(tensor, DeviceTensor) and session.holds(tensor)):
            if not may_come_down(asked, plan, tensor):
                return HOST_MEMORY
            plan.comes_down = True
            continue
        if not tensor._meta.covers(tensor._cell.nbytes):
            if len(plan.written) > 1:
                return PART_WRITTEN
            plan.writes_part = True
    return None


def _refuse_dtypes(session: Session, outputs: list[Meta]) -> Refusal | None:
    odd = next((meta.dtype for meta in outputs if meta.dtype not in session.carriers), None)
    return None if odd is None else NOT_CARRIED.with_got(dtype_name(odd))


def entry_refusal(session: Session, entry: Entry, call: Call) -> Refusal | None:
    """Return the refusal of the entry's first failing condition. Conditions see the dtypes that the device carries."""
    try:
        promoted = entry.in_common_dtype(call)
    except Exception as error:
        return unjudged(error)
    return entry.refuse(promoted, session.carriers.narrow)


def _set_arrivals(session: Session, plan: Plan, entry: Entry, call: Call) -> Refusal | None:
    """Decide how each argument arrives; return a refusal if a spec cannot say."""
    try:
        dtype = entry.common_dtype(call)
        # `precision` narrows the program's float32 tensors only. Integers promoted to float32 stay exact, and so do the
        # arguments that are promoted with them.
        exact = dtype in session.carriers.narrow and any(_is_long(m.dtype) for _, m in call.tensors(*entry.promoted))
        plan.casts = exact
        for slot in plan.slots:
            spec = entry.takes.get(slot.name)
            if spec is not None and spec.arrives:
                together = spec.promoted is not None
                slot.arrival = spec.arrival(call, dtype if together else None, exact and together)
    except Exception as error:
        return unjudged(error)
    return None


def prepare(asked: Asked, plan: Plan) -> bool:
    """Make the plan ready to run; return whether the device can hold the call."""
    session, entry = asked.session, plan.entry
    assert entry is not None
    keep_taken(plan, entry)
    not_read = {name for name, spec in entry.takes.items() if not spec.arrives}
    plan.constants.update({name: asked.call[name] for name in not_read})
    plan.slots = [slot for slot in plan.slots if slot.name not in not_read]
    if OUT in entry.parameters and OUT not in argument_names(entry.op):
        plan.constants[OUT] = plan.outputs if plan.returns_list else plan.outputs[0]
    if entry.number is not None and (not plan.written or is_in_place(plan.op)):
        plan.number = entry.number(plan.constants)
    for slot in plan.slots:
        slot.as_held = _is_as_held(session, slot.arrival, slot.of(asked.args, asked.kwargs))
        slot.leading = may_lead(session, plan, slot, asked.args, asked.kwargs)
    if not plan.comes_down:
        plan.of_images = of_images(plan, asked.as_call_of(entry), asked.args, asked.kwargs)
    unexpand(session, plan, asked.as_call_of(entry), asked.args, asked.kwargs)
    if session.makes_room and entry.in_room is not None and not plan.written:
        metas = [metadata_of(tensor) for slot in plan.slots for tensor in slot.tensors(asked.args, asked.kwargs)]
        plan.in_room = entry.in_room if not entry.in_room.grows or may_grow(plan, metas) else None
    apart = entry.apart or (elementwise if plan.elementwise else None)
    in_place = not plan.written or (is_in_place(plan.op) and not plan.writes_part and not plan.comes_down)
    if session.makes_room and apart is not None and in_place:
        _set_apart(asked, plan, entry, apart)
    plan.matrix = matrix_of_call(session, plan, asked.args, asked.kwargs)
    may_vary = session.varies and plan.apart is not None
    plan.may_be_longer = plan.in_room is not None or plan.matrix is not None or may_vary
    plan.waits = take_part(session, plan, entry)
    plan.too_large = refuse_too_large(session, plan, asked.args, asked.kwargs)
    if plan.matrix is None:
        plan.refusal = plan.too_large
    return plan.refusal is None


def _set_apart(asked: Asked, plan: Plan, entry: Entry, apart: Apart) -> None:
    """Note which dimensions the op keeps apart, and how far arguments of the host are padded along them."""
    session, call = asked.session, asked.as_call_of(entry)
    plan.apart = labels = apart(call, plan.outputs)
    if labels is None:
        return
    of_host = {slot.name: _on_host(session, slot.of(asked.args, asked.kwargs)) for slot in plan.slots}
    plan.starts = session.sizes.starts(call, labels, of_host)
    plan.own_sizes = labels.sizes(call)
    if plan.starts and not session.varies:
        session.varies = True
        for kept in session.ledger.plans():
            kept.may_be_longer = kept.may_be_longer or kept.apart is not None


def _on_host(session: Session, argument: Any) -> bool:
    """Whether it is one tensor that is to be uploaded, and no parameter."""
    if not isinstance(argument, torch.Tensor) or is_parameter(argument):
        return False
    return not isinstance(argument, DeviceTensor) or argument._cell.storage is not None


def _is_long(dtype: torch.dtype) -> bool:
    """Whether the dtype has integers that bfloat16 cannot hold; float32 still holds them up to 2**24."""
    return not dtype.is_floating_point and dtype not in (torch.bool, torch.uint8, torch.int8)


def _is_as_held(session: Session, arrival: Arrival, argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return bool(argument) and all(_is_as_held(session, arrival, item) for item in argument)
    if not isinstance(argument, DeviceTensor) or not session.holds(argument) or not argument._meta.numel:
        return False
    return arrival.is_as_held(session.carriers, argument._meta.dtype)


def keep_taken(plan: Plan, entry: Entry) -> None:
    """Drop arguments that the lowering does not take: the tensor of an `out=` form, which is no argument of the entry's
    op, and those that an `Is` condition fixes to one value."""
    taken = set(entry.parameters) & set(argument_names(entry.op))
    plan.constants = {name: value for name, value in plan.constants.items() if name in taken}
    plan.slots = [slot for slot in plan.slots if slot.name in taken]
