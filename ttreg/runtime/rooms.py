"""Runs calls on tensors that are held with spare room, and makes the room where a tensor grows row by row.

A result that is appended to again and again, such as a cache of keys, has another length at each step. On the device it
is held in more rows than it has: its cell has a `longer` one. Calls that can work on that have the same shapes at each
step, so that ttnn compiles no program anew. Every other call gets the tensor's own rows, cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

from torch.nn.functional import pad

from ..call import Call
from ..costs.work import Work
from ..devices.base import RefusedByDevice
from ..errors import LoweringError
from ..exact.cost import TooDear
from ..memory.longer import shortened, stretched, stretched_view
from ..memory.padding import tiled
from ..memory.relayout import route
from ..memory.tensor import DeviceTensor
from ..meta import Meta
from ..modes import without_modes
from ..plan import Plan
from ..room import TILE_ROWS, Room, bucket
from .later import Later, raise_as_pytorch_would
from .lowering import lower_in_room
from .refused import raise_error
from .session import Session

Exactly = Callable[[Plan, tuple, dict[str, Any]], Any]

# So many rows at once are put into spare room, each by calls of its own. A larger part is appended as without room.
_MOST_ROWS = 8

# Room may take as many bytes as the tensor itself, or these.
_SMALL_NBYTES = 1 << 20

# Of the table that says of each element of a matrix in which row it is.
_MOST_PLACES = 1 << 21


def may_grow(plan: Plan, metas: list[Meta]) -> bool:
    """Whether a call that puts these tensors together may append to one that grows."""
    parts, total = [meta for meta in metas if meta.numel], plan.outputs[0]
    alike = all(meta.dtype is total.dtype for meta in parts)
    return len(parts) in (1, 2) and alike and total.dtype.is_floating_point and _dim(plan) == total.ndim - 2


def run(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any], exactly: Exactly) -> Any:
    """The results of a call whose entry can use spare room; `exactly` runs the call without it."""
    way = _appended if plan.in_room is not None and plan.in_room.grows else _with_what_is_there
    try:
        made = way(session, plan, args, kwargs)
    except TooDear:
        made = None
    except (RefusedByDevice, LoweringError) as failure:
        if session.settings.on_device_error != "fallback":
            plan.count -= 1
            raise_as_pytorch_would(session, plan, args, kwargs, failure)
            raise_error(failure, lambda: str(Call.bind(plan.op, args, kwargs)))
        made = None
    if made is not None:
        return made
    result = exactly(plan, args, kwargs)
    if isinstance(result, DeviceTensor):
        result._cell.appended = _dim(plan) if way is _appended else _still_appended(plan, args, kwargs, result)
    return result


def _still_appended(plan: Plan, args: tuple, kwargs: dict[str, Any], result: DeviceTensor) -> int | None:
    """The dimension along which the first argument was put together, if the result has it unchanged."""
    first = plan.slots[0].of(args, kwargs)
    if type(first) is not DeviceTensor or first._meta is not first._cell.root:
        return None
    dim, given, meta = first._cell.appended, first._meta, result._meta
    return dim if dim is not None and given.ndim == meta.ndim and given.shape[dim] == meta.shape[dim] else None


def _with_what_is_there(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Use the room that arguments have."""
    arguments, room, padding = plan.constants.copy(), {}, 0
    for slot in plan.slots:
        given = slot.of(args, kwargs)
        longer = _longer(session, given) if type(given) is DeviceTensor else None
        if longer is not None:
            tensor, room[slot.name] = longer
            padding += _tiled(tensor._meta) - _tiled(given._meta)
            arguments[slot.name] = tensor
    if not room:
        return None
    for slot in plan.slots:
        given = arguments.get(slot.name)
        if given is None:
            given = _padded(session, plan, slot.name, slot.of(args, kwargs), next(iter(room.values())))
        arguments[slot.name] = slot.arrival.value(session, given)
        if arguments[slot.name] is None:  # an index out of bounds
            return None
    return _results(session, plan, arguments, room, padding, args, kwargs)


def _padded(session: Session, plan: Plan, name: str, given: Any, room: Room) -> Any:
    """The argument; if the entry says with what, and it is on the host, padded there as long as those in room are."""
    number = plan.in_room.pads.get(name) if plan.in_room is not None else None
    if number is None or (type(given) is DeviceTensor and session.holds(given) and given._cell.storage is None):
        return given
    if given.shape[-1] != room.length or room.length == 1:
        return given
    with without_modes():
        return pad(session.read(given), (0, room.size - room.length), value=number)


def _longer(session: Session, tensor: DeviceTensor) -> tuple[DeviceTensor, Room] | None:
    """The tensor over its cell's longer one, with the room that it has there."""
    cell, meta = tensor._cell, tensor._meta
    longer, dim = cell.longer, cell.appended
    if longer is None or dim is None or not session.holds(tensor):
        return None
    size = longer.root.shape[dim]
    found = stretched_view(meta, cell.root, dim, size)
    if found is None or (found[0] is not longer.root and route(longer.root, found[0]) is None):
        return None
    return DeviceTensor.make(longer, found[0]), Room(found[1], meta.shape[found[1]], size)


def _appended(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Put what is appended into the room of the first tensor, which is made if the last call appended to it too."""
    tensors = [tensor for tensor in plan.slots[0].of(args, kwargs) if tensor.numel()]
    first = tensors[0]
    if len(tensors) != 2 or type(first) is not DeviceTensor or not session.holds(first):
        return None
    cell, meta, dim, total = first._cell, first._meta, _dim(plan), plan.outputs[0]
    count = total.shape[dim] - meta.shape[dim]
    if count > _MOST_ROWS or cell.appended != dim or meta is not cell.root:
        return None
    longer, size = cell.longer, None
    if longer is not None and longer.root.shape[dim] >= total.shape[dim]:
        size, value = longer.root.shape[dim], longer.device_value(longer.root, None)
    else:
        size, value = _size(session, total, dim), session.value(first)
    if size is None:
        return None
    arguments = {**plan.constants, plan.slots[0].name: [value, session.value(tensors[1])]}
    room = {plan.slots[0].name: Room(dim, meta.shape[dim], size)}
    padding = _tiled(stretched(total, dim, size)) - _tiled(total)
    return _results(session, plan, arguments, room, padding, args, kwargs)


def _size(session: Session, meta: Meta, dim: int) -> int | None:
    """So many rows the tensor gets with its room; None if that is not worth it."""
    step = session.settings.buckets
    while isinstance(step, int) and step >= TILE_ROWS:
        size = bucket(meta.shape[dim], step)
        longer = stretched(meta, dim, size)
        cheap = _tiled(longer) - _tiled(meta) <= max(_tiled(meta), _SMALL_NBYTES)
        if cheap and prod(longer.shape[dim:]) <= _MOST_PLACES:
            own = shortened(longer, dim, meta.shape[dim])
            return size if own is longer or route(longer, own) is not None else None
        step = step // (2 * TILE_ROWS) * TILE_ROWS
    return None


def _results(
    session: Session,
    plan: Plan,
    arguments: dict[str, Any],
    room: Mapping[str, Room],
    padding: int,
    args: tuple,
    kwargs: dict[str, Any],
) -> Any:
    with session.device.lock:
        if plan.work is None:
            plan.work = Work(str(plan.op))
            plan.works.append(plan.work)
        call = session.tt, session.carriers, plan, arguments, room
        made = session.recorder.run(plan.work, lower_in_room, *call)
    if made is None:
        return None
    session.ledger.padded(padding)
    results: list[Any] = []
    for number, ((value, dim), meta) in enumerate(zip(made, plan.outputs, strict=True)):
        if dim is not None:
            results.append(session.longer_tensor(meta, value, dim))
            continue
        if callable(value):  # made from the tensors themselves if the host has to, and not from the longer ones
            value = partial(Later(session, plan, dict.fromkeys(arguments), args, kwargs).make, number, value)
        results.append(session.new_tensor(meta, value, plan))
    if plan.in_room is not None and plan.in_room.grows:
        results[0]._cell.appended = _dim(plan)  # also if it fills its room
    if session.checker is not None:
        _compare(session, plan, arguments, results, args, kwargs)
    return tuple(results) if plan.returns_list else results[0]


def _compare(
    session: Session, plan: Plan, arguments: dict[str, Any], results: list[Any], args: tuple, kwargs: dict[str, Any]
) -> None:
    assert session.checker is not None
    later = [result._cell.lazy if result._cell.longer is None else None for result in results]
    values = [session.value(result) if make is None else make for result, make in zip(results, later, strict=True)]
    held = session.checker.compare(session, plan, arguments, values, args, kwargs)
    for result, make, value in zip(results, later, held, strict=True):
        if make is not None:
            result._cell.lazy = value


def _dim(plan: Plan) -> int:
    return plan.constants["dim"] % plan.outputs[0].ndim


def _tiled(meta: Meta) -> int:
    return tiled(meta.shape, meta.dtype)
