"""Decides where a call goes: the entry's conditions, then a decomposition, then the host."""

from __future__ import annotations

from typing import Any

import torch

from ..call import Call, bind_arguments
from ..fallback import decompose
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import Meta, dtype_name, meta_of
from ..plan import (
    DATA_DEPENDENT,
    EMPTY,
    HOST_MEMORY,
    LEFT_FOR_LATER,
    NO_DECOMPOSITION,
    NO_ENTRY,
    NO_META,
    NOT_CARRIED,
    OUT_DTYPE,
    PART_WRITTEN,
    WRITES_BY_PARTS,
    Plan,
    find_slots,
)
from ..pytorch_private import OpOverload, tree_leaves, tree_map_only
from ..refusal import Refusal, unjudged
from ..registry import OUT, Entry, registry
from ..schema import (
    argument_names,
    functional_form,
    is_composite,
    is_elementwise,
    is_in_place,
    is_tracked,
    is_view,
    leaves_counting,
    unread_arguments,
    view_form,
    written_arguments,
)
from ..specs import Arrival
from .constants import refuse_constants
from .fakes import no_meta
from .layouts import as_on_cpu
from .rehearsal import refuse_too_large, refuse_views
from .session import Session

aten = torch.ops.aten

LAZY = (torch.ops.aten._conj.default, torch.ops.aten._neg_view.default)

# Nothing is gained by having the device do what only moves data, in a part that the host would then put in its place.
_OVERWRITES = frozenset((aten.copy.default, aten.fill.Scalar, aten.fill.Tensor, aten.zero.default))


def decide(session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Plan:
    """The plan for every call with this signature."""
    constants, slots = find_slots(op, args, kwargs)
    # A batch norm writes to its running statistics in training only.
    writes = written_arguments(op) if constants.get("training", True) else ()
    tensors = [t for slot in slots for t in slot.tensors(args, kwargs)]
    metas = [metadata_of(t) for t in tensors]
    read = [t.dtype for slot in slots if slot.name not in unread_arguments(op) for t in slot.tensors(args, kwargs)]
    plan = Plan(
        op,
        "host",
        constants=constants,
        tensors=slots,
        slots=slots,
        written=[slot for slot in slots if slot.name in writes],
        uncounted=leaves_counting(op),
        elementwise=is_elementwise(functional_form(op) or op),
        floating=any(dtype.is_floating_point for dtype in read),
        no_dtype=any(_no_dtype(session, dtype) for dtype in (*read, *constants.values())),
        complex=any(meta.dtype.is_complex for meta in metas),
        nbytes=sum(meta.nbytes for meta in metas),
        plain=not any(isinstance(leaf, DeviceTensor) for leaf in tree_leaves((args, kwargs))),
    )
    if is_composite(op) and writes and not is_tracked(op):
        plan.placement, plan.refusal = "decomposed", WRITES_BY_PARTS
        return plan
    plan.form = form = view_form(op)
    if form is not None:
        if outputs_on_meta(form, args, kwargs)[0] is None:
            plan.refusal = no_meta(op, args, kwargs)
        else:
            plan.placement = "view"
        return plan
    plan.entry = entry = registry.find(op)
    if is_view(op) and not (is_composite(op) and entry is None):
        return _decide_view(session, plan, tensors, args, kwargs)
    if entry is None:
        plan.refusal = NO_ENTRY
    elif entry.kind == "device":
        plan.refusal = _refuse(session, plan, entry, args, kwargs)
    elif entry.kind == "decomposed" and not decompose.can_run(op):
        plan.refusal = NO_DECOMPOSITION
    elif entry.kind == "decomposed" and outputs_on_meta(op, args, kwargs)[0] is None:
        plan.refusal = no_meta(op, args, kwargs)  # its parts would raise something else than the op
    else:
        plan.refusal = entry.conditions[0].refuse(Call.bind(op, args, kwargs))
    if plan.refusal is None and _prepare(session, plan, entry, args, kwargs):
        plan.placement = "device" if _worth_uploading(session, tensors, metas or plan.outputs) else "local"
    elif entry is not None and entry.kind == "decomposed":
        plan.placement = "host" if plan.refusal in (NO_DECOMPOSITION, NO_META, DATA_DEPENDENT) else "decomposed"
    elif is_composite(op) and (entry is None or entry.kind == "device"):
        plan.placement = "decomposed"
    return plan


def _refuse(
    session: Session,
    plan: Plan,
    entry: Entry,
    args: tuple,
    kwargs: dict[str, Any],
) -> Refusal | None:
    """Why the device does not run the call, or None after filling in the plan's outputs."""
    outputs, plan.several = outputs_on_meta(plan.op, args, kwargs)
    if outputs is None:
        return no_meta(plan.op, args, kwargs)
    if not plan.written:
        try:
            outputs = as_on_cpu(entry, Call.bind(plan.op, args, kwargs), outputs)
        except Exception as error:
            return unjudged(error)
    plan.outputs = outputs
    form = functional_form(plan.op)
    if form is not None and not is_in_place(plan.op):
        bound = bind_arguments(plan.op, args, kwargs)
        results, _ = outputs_on_meta(form, (), {name: bound[name] for name in argument_names(form)})
        if results is None:
            return no_meta(form, (), {name: bound[name] for name in argument_names(form)})
        odd_out = next((o.dtype for o, r in zip(outputs, results, strict=True) if o.dtype is not r.dtype), None)
        if odd_out is not None:  # its shape functions take dtypes that its kernels do not
            return OUT_DTYPE.with_got(dtype_name(odd_out))
    needed = list(Call.bind(plan.op, args, kwargs).tensors())
    if not all(meta.numel or _may_be_empty(entry, name) for name, meta in needed) or not any(o.numel for o in outputs):
        return EMPTY
    call = _functional_call(entry, Call.bind(plan.op, args, kwargs))
    refusal = refuse_constants(plan, [meta for _, meta in needed])
    refusal = refusal or entry_refusal(session, entry, call) or _set_arrivals(session, plan, entry, call)
    if refusal is not None:
        return refusal
    for tensor in plan.targets(args, kwargs):
        dtype = entry.common_dtype(call)
        if dtype is not None and not torch.can_cast(dtype, tensor.dtype):
            return OUT_DTYPE.with_got(dtype_name(dtype))  # the shape function of `mul_` does not raise
        if not (isinstance(tensor, DeviceTensor) and session.holds(tensor)):
            return HOST_MEMORY
        if not tensor._meta.covers(tensor._cell.nbytes):
            if entry.op in _OVERWRITES or len(plan.written) > 1:
                return PART_WRITTEN
            plan.writes_part = True
    for meta in outputs:
        if meta.dtype not in session.carriers:
            return NOT_CARRIED.with_got(dtype_name(meta.dtype))
    return None


def entry_refusal(session: Session, entry: Entry, call: Call) -> Refusal | None:
    """Which condition of the entry refuses the call, in the dtypes that it would have on the device."""
    try:
        promoted = entry.in_common_dtype(call)
    except Exception as error:
        return unjudged(error)
    return entry.refuse(promoted, session.carriers.narrow)


def _set_arrivals(session: Session, plan: Plan, entry: Entry, call: Call) -> Refusal | None:
    """Decide how each argument arrives; why that cannot be said, if it cannot."""
    try:
        dtype = entry.common_dtype(call)
        # An integer is no float32 of the program's, and not to be rounded to what carries those, nor what it meets.
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


def _may_be_empty(entry: Entry, name: str) -> bool:
    return name in entry.takes and entry.takes[name].may_be_empty


def _no_dtype(session: Session, value: Any) -> bool:
    """Whether a dtype is of floating point and ttnn has none for it: float64 and float16."""
    return isinstance(value, torch.dtype) and value.is_floating_point and value not in session.carriers


def _functional_call(entry: Entry, call: Call) -> Call:
    """The call as one of the entry's op, without the `out` arguments that only its other form has."""
    names = argument_names(entry.op)
    return Call(entry.op, {name: call[name] for name in names})


def _worth_uploading(session: Session, tensors: list[torch.Tensor], metas: list[Meta]) -> bool:
    if any(isinstance(t, DeviceTensor) and session.holds(t) for t in tensors):
        return True
    return max((meta.numel for meta in metas), default=0) >= session.settings.min_upload_numel


def _prepare(session: Session, plan: Plan, entry: Entry | None, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether the device can hold the call, for which the plan is made ready."""
    assert entry is not None
    call = _functional_call(entry, Call.bind(plan.op, args, kwargs))
    _keep_taken(plan, entry)
    not_read = {name for name, spec in entry.takes.items() if not spec.arrives}
    plan.constants.update({name: call[name] for name in not_read})
    plan.slots = [slot for slot in plan.slots if slot.name not in not_read]
    if OUT in entry.parameters and OUT not in argument_names(entry.op):
        plan.constants[OUT] = plan.outputs if plan.several else plan.outputs[0]
    for slot in plan.slots:
        slot.as_held = _is_as_held(session, slot.arrival, slot.of(args, kwargs))
    plan.refusal = refuse_too_large(session, plan, args, kwargs)
    return plan.refusal is None


def _is_long(dtype: torch.dtype) -> bool:
    """Whether the dtype has integers that bfloat16 has not, as float32 does up to 2**24."""
    return not dtype.is_floating_point and dtype not in (torch.bool, torch.uint8, torch.int8)


def _is_as_held(session: Session, arrival: Arrival, argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return bool(argument) and all(_is_as_held(session, arrival, item) for item in argument)
    if not isinstance(argument, DeviceTensor) or not session.holds(argument) or not argument._meta.numel:
        return False
    return arrival.is_as_held(session.carriers, argument._meta.dtype)


def _keep_taken(plan: Plan, entry: Entry) -> None:
    """Drop what the lowering does not take: `out`, and what an `Is` condition leaves one value."""
    plan.constants = {name: value for name, value in plan.constants.items() if name in entry.parameters}
    plan.slots = [slot for slot in plan.slots if slot.name in entry.parameters]


def _decide_view(
    session: Session, plan: Plan, tensors: list[torch.Tensor], args: tuple, kwargs: dict[str, Any]
) -> Plan:
    plan.placement = "view"
    if not tensors:
        plan.placement, plan.refusal = "host", NO_META
        return plan
    if not isinstance(tensors[0], DeviceTensor):
        return plan  # a plain tensor's view is PyTorch's own
    if plan.op in LAZY:
        plan.placement, plan.refusal = "host", LEFT_FOR_LATER
        return plan
    outputs, plan.several = outputs_on_meta(plan.op, args, kwargs)
    if outputs is None:
        plan.placement, plan.refusal = "host", no_meta(plan.op, args, kwargs)
        return plan
    plan.outputs, plan.reach = outputs, max((meta.end for meta in outputs), default=0)
    if plan.entry is None:
        plan.refusal = NO_ENTRY
    elif not all(meta.numel for meta in outputs):
        plan.refusal = EMPTY
    else:
        call = Call.bind(plan.op, args, kwargs)
        plan.refusal = entry_refusal(session, plan.entry, call) or refuse_views(session, outputs)
        if plan.refusal is None:
            _keep_taken(plan, plan.entry)
    return plan


def outputs_on_meta(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> tuple[list[Meta] | None, bool]:
    """Metadata of the op's outputs as CPU gives them, and whether it returns several.

    None if the call is wrong, or changes the geometry of what it writes to.
    """

    def on_meta(tensor: torch.Tensor) -> torch.Tensor:
        return metadata_of(tensor).on_meta()

    meta_args, meta_kwargs = tree_map_only(torch.Tensor, on_meta, (args, kwargs))
    meta_args, meta_kwargs = tree_map_only(torch.device, lambda _: torch.device("meta"), (meta_args, meta_kwargs))
    bound = bind_arguments(op, meta_args, meta_kwargs)
    written = [bound[name] for name in written_arguments(op) if isinstance(bound[name], torch.Tensor)]
    before = {id(tensor): meta_of(tensor) for tensor in written}
    is_out = functional_form(op) is not None and not is_in_place(op)
    try:
        if is_out:
            for tensor in written:  # without elements it takes on any shape, and PyTorch does not warn of that
                tensor.resize_(0)
        result = (decompose.ours(op) or op)(*meta_args, **meta_kwargs)
    except Exception:  # whatever it is, the host raises it again, in PyTorch's own words
        return None, False
    for tensor in written:
        if tensor.shape != before[id(tensor)].shape or (not is_out and meta_of(tensor) != before[id(tensor)]):
            return None, False
    several = isinstance(result, (list, tuple))
    results = [t for t in (result if several else [result]) if t is not None]  # None: a gradient not asked for
    return [before.get(id(t)) or meta_of(t) for t in results], several
