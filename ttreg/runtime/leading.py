"""Rows under more leading dimensions of 1 than a call gives them: products take them, and give their results, so.

`x.view(-1, n)` before a product and `.view(1, length, m)` behind it move nothing. To make a value for each would take a
ttnn call each. The product of the value that is there is the same, under the metadata that the second view asks for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..devices.base import Value
from ..memory.tensor import DeviceTensor
from ..meta import Meta, in_rows
from ..plan import Plan, Slot
from .session import Session

_MAX_RANK = 4


def may_lead(session: Session, plan: Plan, slot: Slot, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether the slot's argument may arrive so: the result has its leading dimensions, and nothing else has others."""
    if not (session.may_lead and slot.as_held and slot.arrival.leading) or plan.written or len(plan.outputs) != 1:
        return False
    others = [tensor for other in plan.slots if other is not slot for tensor in other.tensors(args, kwargs)]
    made = plan.outputs[0]
    return slot.of(args, kwargs).ndim == made.ndim and all(t.ndim <= 2 for t in others) and made.is_default


def with_leading(plan: Plan, tensor: DeviceTensor) -> tuple[Value | None, Plan]:
    """The value of what the tensor is a view of, if it only has more leading dimensions of 1; and the plan for it."""
    cell, meta, view = tensor._cell, tensor._meta, tensor._view
    while view is not None and _leads(view.parent, meta):
        meta, view = view.parent, view.above
    if meta is tensor._meta and _leads(cell.root, meta):
        meta, view = cell.root, None
    if meta is tensor._meta:
        return None, plan
    value = cell.device_value(meta, view)
    return value, plan if value is None else _plan(plan, meta.ndim - tensor._meta.ndim)


def shown(result: DeviceTensor, meta: Meta) -> DeviceTensor:
    """The result without the leading dimensions."""
    return DeviceTensor.make(result._cell, meta)


def _leads(longer: Meta, meta: Meta) -> bool:
    """Whether the first has the second's geometry behind leading dimensions of 1."""
    more = longer.ndim - meta.ndim
    if more <= 0 or longer.ndim > _MAX_RANK or longer.offset != meta.offset or longer.dtype is not meta.dtype:
        return False
    if longer.shape[more:] != meta.shape or any(size != 1 for size in longer.shape[:more]):
        return False
    steps = zip(meta.shape, longer.stride[more:], meta.stride, strict=True)
    return all(size == 1 or one == other for size, one, other in steps)


def _plan(of: Plan, more: int) -> Plan:
    plan = of.for_leading.get(more)
    if plan is None:
        meta = of.outputs[0]
        outputs = [in_rows(meta.dtype, (1,) * more + meta.shape)]
        plan = of.for_leading[more] = replace(of, outputs=outputs, as_made=(), counted_by=of, work=None)
    return plan
