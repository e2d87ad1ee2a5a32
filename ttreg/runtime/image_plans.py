"""Plans for calls whose tensors are held as images: they compute on these, and give images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from ..call import Call
from ..images import Image, image_layout, rows, unfolded
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import Meta, in_rows
from ..plan import Plan, Slot
from ..registry import OUT
from ..specs import Arrival
from .session import Session


def of_images(plan: Plan, call: Call, args: tuple, kwargs: dict[str, Any]) -> ImagePlans | None:
    """How the plan's op takes images; None if it takes none."""
    assert plan.entry is not None
    if plan.writes_part or not plan.outputs:
        return None
    specs = plan.entry.takes
    if not all(slot.arrival.of_values for slot in plan.slots):
        return None
    declared = [slot for slot in plan.slots if slot.name in specs and specs[slot.name].takes_images(call)]
    if declared:
        metas = [metadata_of(tensor) for slot in declared for tensor in slot.tensors(args, kwargs)]
        return None if any(image_layout(meta) is None for meta in metas) else ImagePlans(plan, declared, {})
    shape = plan.outputs[0].shape
    if not plan.elementwise or any(not _is_image(meta, shape) for meta in plan.outputs):
        return None
    whole, beside = [], {}
    for slot in plan.slots:
        given = slot.tensors(args, kwargs)
        sizes = [metadata_of(tensor).shape for tensor in given]
        if all(size == shape for size in sizes):
            whole.append(slot)
        elif len(given) != 1:
            return None
        elif given[0].numel() != 1:
            per_channel = _per_channel(sizes[0], shape)
            if per_channel is None:
                return None
            beside[slot.name] = per_channel
    return ImagePlans(plan, whole, beside) if whole else None


def _is_image(meta: Meta, shape: tuple[int, ...]) -> bool:
    return meta.shape == shape and image_layout(meta) is not None and meta.covers(meta.nbytes)


def _per_channel(size: tuple[int, ...], shape: tuple[int, ...]) -> int | None:
    """For how many images an operand has a number for each channel; None if it is no such operand."""
    images, channels, *places = (1,) * (len(shape) - len(size)) + size
    fits = images in (1, shape[0]) and channels == shape[1] and set(places) == {1}
    return images if fits else None


class ImagePlans:
    """The plans of one op for images: folded ones, and others."""

    def __init__(self, plan: Plan, whole: list[Slot], beside: dict[str, int]):
        self._of, self._whole, self._beside = plan, whole, beside
        self._may_fold = all(images == 1 for images in beside.values())
        self._plans: dict[bool, Plan] = {}

    def plan(self, session: Session, args: tuple, kwargs: dict[str, Any]) -> Plan | None:
        """The plan for a call; None unless all tensors in question are held as images, or are on the host."""
        forms = [_form(session, tensor) for slot in self._whole for tensor in slot.tensors(args, kwargs)]
        if _NONE in forms or (_FOLDED not in forms and _LAST not in forms):
            return None
        folded = self._may_fold and _LAST not in forms
        plan = self._plans.get(folded)
        if plan is None:
            plan = self._plans[folded] = self._made(folded)
        return plan

    def _made(self, folded: bool) -> Plan:
        of, names = self._of, {slot.name for slot in self._whole}

        def arrival(slot: Slot) -> Arrival:
            if slot.name in names:
                return slot.arrival.in_images(folded)
            if slot.name in self._beside:
                return slot.arrival.for_channels(self._beside[slot.name], folded, of.outputs[0].ndim)
            return slot.arrival

        slots = [
            replace(slot, arrival=arrival(slot), as_held=slot.as_held and slot.name not in (names | set(self._beside)))
            for slot in of.slots
        ]
        made = replace(of, slots=slots, as_made=(), of_images=None, waits=False, counted_by=of, work=None)
        entry = of.entry
        assert entry is not None
        if of.elementwise and entry.function is not None:
            made.entry = replace(entry, function=_on_values(entry.function, of.outputs[0].shape, folded))
            if OUT in of.constants:
                shape = rows(of.outputs[0].shape) if folded else unfolded(of.outputs[0].shape)
                outs = [in_rows(meta.dtype, shape) for meta in of.outputs]
                made.constants = {**of.constants, OUT: outs if of.returns_list else outs[0]}
        return made


_FOLDED, _LAST, _HOST, _NONE = "folded", "channels last", "on the host", ""


def _form(session: Session, tensor: torch.Tensor) -> str:
    """How a tensor is held."""
    if type(tensor) is not DeviceTensor or not session.holds(tensor):
        return _HOST
    layout, values = image_layout(tensor._meta), tensor._cell.values
    if layout is None:
        return _NONE
    return _FOLDED if layout in values else _LAST if layout.last in values else _NONE


def _on_values(function: Callable[..., Any], shape: tuple[int, ...], folded: bool) -> Callable[..., Any]:
    """The lowering of an elementwise op, for images in place of the values that they hold."""

    def value_of(argument: Any) -> Any:
        if isinstance(argument, list):
            return [value_of(item) for item in argument]
        return argument.value if isinstance(argument, Image) else argument

    @wraps(function)
    def lowering(tt: Any, **arguments: Any) -> Any:
        made = function(tt, **{name: value_of(argument) for name, argument in arguments.items()})
        if isinstance(made, (list, tuple)):
            return [Image(value() if callable(value) else value, shape, folded) for value in made]
        return Image(made, shape, folded)

    return lowering
