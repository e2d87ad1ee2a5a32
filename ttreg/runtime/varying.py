"""Runs calls on tensors that are padded along dimensions whose sizes vary, so that one program fits several sizes.

A service meets texts of every length and batches of every size, and each size would need device programs of its own.
Once a session has met several, what the host uploads is padded to the next of a few sizes, and the results are held
longer than they are: their cells have a `longer` one, whose spare places hold anything. An op that keeps the dimension
apart (see `ttreg.apart`) runs on the longer tensors as on any others, by a plan of its own. Every other op gets the
tensor's own part, cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from ..apart import Labels
from ..memory.longer import grown, moved
from ..memory.padding import tiled
from ..memory.relayout import route
from ..memory.tensor import DeviceTensor
from ..memory.uploads import is_parameter
from ..meta import Meta
from ..plan import Plan, Slot
from ..schema import argument_names, functional_form
from .padded import Padded, become_part_of, part_of, seen, spare
from .session import Session

_MASKED_FILL = torch.ops.aten.masked_fill.Scalar
_NO_FILLS: Mapping[Any, float] = {}

# The plan of a call on longer tensors, and how to run it.
Planned = Callable[[Any, tuple, dict[str, Any]], Plan | None]
Runs = Callable[[Plan, tuple, dict[str, Any]], Any]


class _Held(NamedTuple):
    """A tensor over its cell's longer one, and the size that it has there by label."""

    tensor: DeviceTensor
    sizes: dict[Any, int]


class Varying:
    """The calls of one session on padded tensors."""

    def __init__(self, session: Session, planned: Planned, runs: Runs):
        self._session, self._planned, self._runs = session, planned, runs
        self._padded = Padded()

    def run(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The results of a call with longer arguments; None if it has none, or has to run as it is."""
        labels = plan.apart
        assert labels is not None
        found = self._longer(plan, labels, args, kwargs)
        if found is None:
            return None
        held, sizes = found
        if not sizes:
            return None
        arguments = self._arguments(plan, labels, held, sizes, args, kwargs)
        if arguments is None:
            return None
        given = args, kwargs
        args, kwargs = _with(plan, arguments, args, kwargs)
        wanted = [
            grown(meta, _grown(meta.shape, names, sizes))
            for meta, names in zip(plan.outputs, labels.outputs, strict=True)
        ]
        longer = self._planned(functional_form(plan.op) if plan.written else plan.op, args, kwargs)
        if longer is None or longer.placement != "device" or longer.outputs != wanted:
            return None
        longer.count += 1  # as the run takes it back if it fails
        try:
            results = self._runs(longer, args, kwargs)
        except BaseException:
            plan.count -= 1
            raise
        longer.count -= 1
        pairs = zip(plan.outputs, wanted, strict=True)
        self._session.ledger.padded(sum(_tiled(more) - _tiled(own) for own, more in pairs))
        return self._own(plan, results, given)

    def _longer(
        self, plan: Plan, labels: Labels, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[dict[int, _Held], dict[Any, int]] | None:
        """The arguments that are held longer, by identity, and the size that each label gets; None if they differ."""
        held: dict[int, _Held] = {}
        sizes: dict[Any, int] = {}
        for slot in plan.slots:
            names_of = labels.arguments.get(slot.name)
            if names_of is None:
                continue
            for tensor, names in zip(slot.tensors(args, kwargs), names_of, strict=True):
                if type(tensor) is not DeviceTensor or tensor._cell.longer is None:
                    continue
                found = longer_of(self._session, tensor, names)
                if found is None:
                    continue
                held[id(tensor)] = found
                for label, size in found.sizes.items():
                    if sizes.setdefault(label, size) != size:
                        return None
        if plan.starts and not (torch.is_grad_enabled() and _wants_gradients(plan, args, kwargs)):
            for label, size in plan.starts.items():
                sizes.setdefault(label, size)
        own = plan.own_sizes
        return held, {label: size for label, size in sizes.items() if own.get(label, size) != size}

    def _arguments(
        self, plan: Plan, labels: Labels, held: dict[int, _Held], sizes: dict[Any, int], args: tuple, kwargs: dict
    ) -> dict[str, Any] | None:
        """The tensor arguments of the call on longer tensors; None if one cannot be as long as the others."""
        arguments: dict[str, Any] = {}
        for slot in plan.tensors:
            given = slot.of(args, kwargs)
            names_of = labels.arguments.get(slot.name)
            if names_of is None:
                continue
            tensors = slot.tensors(args, kwargs)
            made = []
            for tensor, names in zip(tensors, names_of, strict=True):
                one = self._one(slot, tensor, names, labels.fills.get(slot.name, _NO_FILLS), held, sizes)
                if one is None:
                    return None
                made.append(one)
            arguments[slot.name] = made if isinstance(given, (list, tuple)) else made[0]
        for name, label in labels.hides.items():
            if label in sizes and plan.constants.get(name, self) is None:
                arguments[name] = seen(plan.own_sizes[label], sizes[label])
        return arguments

    def _one(
        self,
        slot: Slot,
        tensor: torch.Tensor,
        names: tuple,
        fills: Mapping[Any, float],
        held: dict[int, _Held],
        sizes: dict[Any, int],
    ) -> torch.Tensor | None:
        """The tensor with as many places as the others have; None if it cannot be made so."""
        shape = _grown(tensor.shape, names, sizes)
        if tuple(tensor.shape) == shape:
            return tensor
        found = held.get(id(tensor))
        if found is not None and not slot.arrival.checked:
            return self._filled(found.tensor, tensor.shape, names, fills) if found.tensor.shape == shape else None
        on_device = type(tensor) is DeviceTensor and self._session.holds(tensor) and tensor._cell.storage is None
        if is_parameter(tensor) or (on_device and not slot.arrival.checked):
            return None
        longer = {label for label, own, size in zip(names, tensor.shape, shape, strict=True) if own != size}
        number = next((fills[label] for label in longer if label in fills), 0)
        return self._padded.to(self._session.read(tensor), shape, number)

    def _filled(
        self, longer: DeviceTensor, own: Sequence[int], names: tuple, fills: Mapping[Any, float]
    ) -> torch.Tensor | None:
        """The longer tensor with numbers in those spare places that count."""
        made: Any = longer
        for dim, label in enumerate(names):
            if label not in fills or own[dim] == longer.shape[dim]:
                continue
            args = made, spare(own[dim], longer.shape[dim], longer.ndim - dim), fills[label]
            plan = self._planned(_MASKED_FILL, args, {})
            if plan is None or plan.placement != "device":
                return None
            plan.count += 1
            made = self._runs(plan, args, {})
        return made

    def _own(self, plan: Plan, results: Any, given: tuple[tuple, dict[str, Any]]) -> Any:
        """The results as the program knows them."""
        if plan.written:
            target: Any = plan.targets(*given)[0]
            return target if become_part_of(self._session, target, results) else None
        if not plan.returns_list:
            return part_of(self._session, results, plan.outputs[0])
        present = [result for place, result in enumerate(results) if place not in plan.absent]
        own: list[Any] = [
            part_of(self._session, longer, meta) for longer, meta in zip(present, plan.outputs, strict=True)
        ]
        for place in plan.absent:
            own.insert(place, None)
        return tuple(own)


def longer_of(session: Session, tensor: DeviceTensor, names: tuple) -> _Held | None:
    """The tensor with its room, if it has any along dimensions with labels, and along no others."""
    cell, meta = tensor._cell, tensor._meta
    longer = cell.longer
    if longer is None or cell.appended is not None or not session.holds(tensor):
        return None
    root = longer.root if longer.image is None else longer.image.tensor
    found = moved(meta, cell.root, root.shape)
    if found is None:
        return None
    whole = found[1]
    sizes = {}
    for label, own, size in zip(names, meta.shape, whole.shape, strict=True):
        if own != size:
            if label is None:
                return None
            sizes[label] = size
    if not sizes or (whole is not root and route(longer.root, whole) is None):
        return None
    return _Held(DeviceTensor.make(longer, whole), sizes)


def _wants_gradients(plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
    return any(tensor.requires_grad for slot in plan.tensors for tensor in slot.tensors(args, kwargs))


def _grown(shape: Any, names: tuple, sizes: dict[Any, int]) -> tuple[int, ...]:
    """The shape with so many places along each dimension that has one of these labels."""
    return tuple(sizes.get(label, size) for label, size in zip(names, shape, strict=True))


def _with(plan: Plan, arguments: dict[str, Any], args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    """The call's arguments with these in place of its own."""
    changed, named = list(args), dict(kwargs)
    names = argument_names(plan.op)
    for name, value in arguments.items():
        place = names.index(name)
        if place < len(changed):
            changed[place] = value
        else:
            named[name] = value
    return tuple(changed), named


def _tiled(meta: Meta) -> int:
    return tiled(meta.shape, meta.dtype) if prod(meta.shape) else 0
