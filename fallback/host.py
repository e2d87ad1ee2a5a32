"""Runs an op on the host: downloads its inputs, notes its writes, and keeps results that alias a `DeviceTensor` so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch.autograd.graph import increment_version

from ..call import bind_arguments
from ..conditions import Refusal
from ..memory import watch
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor
from ..meta import CPU, dtype_name, is_plain, meta_of
from ..placement import Placement
from ..plan import Plan
from ..pytorch_private import (
    DispatchKey,
    OpOverload,
    excluded_keys,
    force_keys,
    included_keys,
    tree_leaves,
    tree_map_only,
)
from ..refusal import COLLECTIVE, FOREIGN
from ..schema import is_between_processes, is_composite, leaves_counting, unread_arguments, written_arguments
from . import collectives, decompose
from .autocast import autocast_within


class Ledger(Protocol):
    """Counts the host runtime's calls and transfers."""

    @property
    def bytes_down(self) -> int:
        """How many bytes have been downloaded so far."""

    def tally(self, op: Any, placement: Placement, refusal: Refusal | None, *, floating: bool = False) -> None:
        """Count one call that has no kept plan."""


class Session(Protocol):
    """What the host runtime asks of the session for which it runs a call."""

    @property
    def ledger(self) -> Ledger:
        """The counter of the session's calls and transfers."""

    def part(self, tensor: DeviceTensor) -> torch.Tensor:
        """A plain tensor with the same content, for which no more than that is downloaded."""

    def ran_on_host(self, plan: Plan, nbytes: int, results: Iterable[Any]) -> None:
        """Note how many bytes a call of the plan downloaded, and the call's results."""


_CONJUGATION = (DispatchKey.Conjugate, DispatchKey.Negative, DispatchKey.ZeroTensor)
_DETACH = torch.ops.aten.detach.default
_KEEP_TYPE = (_DETACH, torch.ops.aten.alias.default)


def runs_as_it_is(plan: Plan) -> bool:
    """Whether `run` has nothing to do but to call the op: it only reads plain tensors, and autocast is not its own."""
    return plan.plain and not (plan.written or plan.complex or (plan.has_parts and plan.host_float))


def only_calls_the_op(plan: Plan) -> bool:
    """As `runs_as_it_is`, if all tensors are plain ones of which nobody has to learn that they are written to."""
    return not (plan.complex or (plan.has_parts and plan.host_float) or is_between_processes(plan.op))


def run(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run the plan's op on plain tensors that share memory with the arguments."""
    if plan.has_parts and plan.host_float:
        with autocast_within(plan.op, in_parts=True):
            return _run(session, plan, args, kwargs)
    return _run(session, plan, args, kwargs)


def _run(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
    if plan.plain and not plan.written and not plan.complex:
        return plan.op(*args, **kwargs)
    bytes_down = session.ledger.bytes_down
    sends = is_between_processes(plan.op) and not plan.written
    stand_ins = _StandIns(session.part if sends else lambda tensor: tensor._cell.host_view(tensor._meta))
    plain_args, plain_kwargs = (args, kwargs) if plan.plain else _with_stand_ins(plan, args, kwargs, stand_ins)
    for tensor in plan.targets(args, kwargs):
        if isinstance(tensor, DeviceTensor):
            tensor._cell.host_written()  # an interrupt may keep it from being noted below
    try:
        with lazy_conjugation() if plan.complex else nullcontext():
            result = plan.op(*plain_args, **plain_kwargs)
    finally:  # an op that raises may have written already
        for tensor in plan.targets(args, kwargs):
            if isinstance(tensor, DeviceTensor):
                stand_ins.written(tensor)
            elif isinstance(tensor, torch.Tensor):
                watch.written(tensor)
                stand_ins.pin_shared_with(tensor)
    if plan.uncounted:
        increment_version(plan.targets(args, kwargs))
    if session.ledger.bytes_down != bytes_down:
        made = (*tree_leaves(result), *plan.targets(args, kwargs))
        session.ran_on_host(plan, session.ledger.bytes_down - bytes_down, made)
    return stand_ins.aliases_in(result)


def _with_stand_ins(
    plan: Plan, args: tuple, kwargs: dict[str, Any], stand_ins: _StandIns
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Replace the `DeviceTensor`s in the arguments by plain tensors."""
    plain_args, plain_kwargs = list(args), dict(kwargs)
    unread = () if plan.written else unread_arguments(plan.op)
    for slot in plan.tensors:
        places: Any = plain_args if isinstance(slot.where, int) else plain_kwargs
        argument = places[slot.where]
        if slot.name in unread and isinstance(argument, DeviceTensor):
            meta = argument._meta  # a model of a new tensor
            places[slot.where] = torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device=CPU)
        elif isinstance(argument, DeviceTensor):
            places[slot.where] = stand_ins(argument)
        elif isinstance(argument, (list, tuple)):
            places[slot.where] = [stand_ins(item) if isinstance(item, DeviceTensor) else item for item in argument]
    return plain_args, plain_kwargs


def run_outside(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run `op` outside of every session. From here on, the memory of each `DeviceTensor` stays on the host."""
    if not any(_foreign(leaf) for leaf in tree_leaves((args, kwargs))) and is_composite(op):
        try:
            return decompose.run(op, args, kwargs)
        finally:  # no one else notes a write to plain tensors only
            watch.written_by(op, args, kwargs)
    stand_ins = _StandIns(DeviceTensor.host)
    plain_args, plain_kwargs = tree_map_only(DeviceTensor, stand_ins, (args, kwargs))
    try:
        with lazy_conjugation(), autocast_within(op, in_parts=True):
            result = op(*plain_args, **plain_kwargs)
    finally:  # an op that raises may have written already
        if written_arguments(op):
            stand_ins.all_written()
            watch.written_by(op, plain_args, plain_kwargs)
    if leaves_counting(op):
        bound = bind_arguments(op, args, kwargs)
        written = tree_leaves([bound[name] for name in written_arguments(op)])
        increment_version([tensor for tensor in written if isinstance(tensor, torch.Tensor)])
    # For other ops a plain view is enough, since the memory stays on the host. But `Parameter(t)` needs `t.detach()` to
    # have the type of `t`.
    if op in _KEEP_TYPE:
        return stand_ins.aliases_in(result, detached=op is _DETACH)
    return stand_ins.originals_in(result)


DeviceTensor.run_outside = staticmethod(run_outside)


def pass_through(session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Pass a call with symbolic numbers or foreign tensors on to the code that handles those."""
    if is_between_processes(op):
        session.ledger.tally(op, "host", COLLECTIVE)
        return collectives.run(op, args, kwargs)
    got = next((_foreign(leaf) for leaf in tree_leaves((args, kwargs)) if _foreign(leaf)), "another kind of argument")
    session.ledger.tally(op, "host", FOREIGN.with_got(got))
    for value in args:
        if isinstance(value, torch.UntypedStorage):
            _check_memory(value)
    return run_outside(op, args, kwargs)


def _foreign(value: Any) -> str:
    """What makes an argument foreign; empty if it is ordinary."""
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return "a symbolic number"
    if not isinstance(value, torch.Tensor) or isinstance(value, DeviceTensor) or is_plain(value):
        return ""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return f"a {type(value).__name__}"
    if value.is_nested:
        return "a nested tensor"
    if value.layout is not torch.strided:
        return f"a {str(value.layout).removeprefix('torch.')} tensor"
    if value.is_quantized:
        return f"a quantized tensor ({dtype_name(value.dtype)})"
    return "a view to be conjugated or negated" if value.is_cpu else f"a tensor on {value.device}"


def _check_memory(storage: torch.UntypedStorage) -> None:
    try:
        storage.data_ptr()
    except RuntimeError:
        raise RuntimeError(
            "set_(tensor, offset, ...) of a plain tensor was given a tensor of the device, whose memory PyTorch does "
            "not find; pass tensor.untyped_storage() in its place"
        ) from None


def lazy_conjugation() -> AbstractContextManager[Any]:
    """While open, kernels handle lazily conjugated and negated views correctly.

    Two dispatch keys resolve such views, and PyTorch calls a mode with these keys excluded. A kernel that the mode
    calls would then read such a view as plain memory: `torch.linalg.pinv` of a complex matrix would be wrong.
    """
    excluded = excluded_keys()
    for key in _CONJUGATION:
        excluded = excluded.remove(key)
    return force_keys(included_keys(), excluded)


class _StandIns:
    """The stand-ins of one call: plain tensors over the same memory as its `DeviceTensor`s.

    Each storage is noted when the call begins, since another thread may replace a cell's content while the call runs.
    """

    def __init__(self, make: Callable[[DeviceTensor], torch.Tensor]):
        self._make = make
        self._pairs: dict[int, tuple[DeviceTensor, torch.Tensor, torch.UntypedStorage]] = {}

    def __call__(self, tensor: DeviceTensor) -> torch.Tensor:
        pair = self._pairs.get(id(tensor))
        if pair is None:
            plain = self._make(tensor)
            pair = self._pairs[id(tensor)] = (tensor, plain, plain.untyped_storage())
        return pair[1]

    def written(self, tensor: DeviceTensor) -> None:
        """Note that the op wrote to the stand-in of `tensor`, and perhaps resized it or gave it other memory."""
        _, plain, memory = self._pairs[id(tensor)]
        cell = tensor._cell
        if _in_memory(plain, memory):
            cell.host_written()
            if meta_of(plain) is not tensor._meta:
                tensor.become(DeviceTensor.make_alike(tensor, cell, meta_of(plain)))
            return
        others = [other._cell for other, _, memory in self._pairs.values() if _in_memory(plain, memory)]
        new_cell = others[0] if others else Cell.over(plain)
        new_cell.pin()
        tensor.become(DeviceTensor.make_alike(tensor, new_cell, meta_of(plain)))

    def pin_shared_with(self, plain: torch.Tensor) -> None:
        """Keep on the host the memory that a plain tensor now shares, as after `plain.set_(tensor)`."""
        for tensor, _, memory in self._pairs.values():
            if _in_memory(plain, memory):
                tensor._cell.pin()

    def all_written(self) -> None:
        """Note that the op may have written to any stand-in."""
        for tensor, _, _ in self._pairs.values():
            self.written(tensor)

    def originals_in(self, result: Any) -> Any:
        """The op's result, with each stand-in replaced by the `DeviceTensor` that it stands for."""
        originals = {id(plain): tensor for tensor, plain, _ in self._pairs.values()}
        return tree_map_only(torch.Tensor, lambda t: originals.get(id(t), t), result)

    def aliases_in(self, result: Any, detached: bool = False) -> Any:
        """The op's result, with each tensor that shares memory with a `DeviceTensor` made a `DeviceTensor` too."""
        if not self._pairs:
            return result
        if type(result) is torch.Tensor:
            return self._alias(result, detached)
        return tree_map_only(torch.Tensor, lambda t: self._alias(t, detached), result)

    def _alias(self, result: torch.Tensor, detached: bool) -> torch.Tensor:
        if not is_plain(result):  # a sparse tensor, for example, may hold an argument's memory
            for original, _, _ in self._pairs.values():
                original._cell.pin()
            return result
        for original, plain, _ in self._pairs.values():
            if result is plain:
                return original
        for original, _, memory in self._pairs.values():
            if _in_memory(result, memory):
                return DeviceTensor.make_alike(original, original._cell, meta_of(result), detached)
        return result


def _in_memory(plain: torch.Tensor, memory: torch.UntypedStorage) -> bool:
    return plain.untyped_storage()._cdata == memory._cdata
