"""Compares a call of the program with the reference's call, and with the op alone on the reference's inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..call import Call, bind_arguments
from ..devices.base import RefusedByDevice
from ..errors import TtregError, first_line
from ..memory.tensor import DeviceTensor, metadata_of
from ..modes import without_modes
from ..plan import Plan
from ..pytorch_private import OpOverload, tree_map_only
from ..schema import unread_arguments
from .calls import StandIns, cancels, made_on_host, memory_of, reference_of, tensors_in, unseen, written_to
from .errors import Errors, equal, errors, norm, same_number
from .record import READS, Compared, shown
from .shadows import followed

if TYPE_CHECKING:
    from .side_by_side import SideBySide

# Runs a call that is not one of the program's.
Makes = Callable[[OpOverload, tuple, dict[str, Any]], Any]
Read = list[torch.Tensor | None]  # None for results that nobody has asked for yet


class Pair:
    """The reference's call. It runs before the program's own call, which may write to its arguments."""

    def __init__(self, session: SideBySide, plan: Plan, args: tuple, kwargs: dict[str, Any], alone: Makes):
        self._session, self._plan = session, plan
        self._row = Compared(str(plan.op), str(Call.bind(plan.op, args, kwargs)), plan.placement, session.places.here())
        self._result: Any = None  # of the reference
        self._into: list[torch.Tensor] = []  # what the reference wrote to
        self._alone: Read | None = None
        self._failures = ["", ""]  # of the reference, and of the device alone
        self._noise: Callable[[], float] = float
        with unseen():
            self._written = written_to(plan.op, args, kwargs)
            given = tensors_in((args, kwargs))
            unread = unread_arguments(plan.op)
            bound = bind_arguments(plan.op, args, kwargs)
            self._computes = bool(tensors_in([value for name, value in bound.items() if name not in unread]))
            self._memories = {memory_of(tensor) for tensor in given}
            shadows = [found for tensor in given if (found := session.shadows.find(tensor)) is not None]
            self._was_off = any(shadow.passed for shadow in shadows)
            # On the host, equal inputs give equal results.
            self._exact = not shadows and plan.placement != "device" and not session.in_double
        if self._exact:
            return
        copied = self._stand_ins(args, kwargs) if shadows and plan.placement == "device" else None
        with unseen():
            if shadows and plan.placement != "device" and session.in_double:
                self._alone = self._read(made_on_host(session.shadows, plan.op, args, kwargs))
            self._make_reference(args, kwargs)
        if copied is not None and not self._failures[0]:
            self._make_alone(alone, *copied)

    def compare(self, result: Any, placement: str) -> None:
        """Compare the result of the program's call, and keep the reference's result if it differs."""
        self._row.placement = placement
        with unseen():
            if self._exact:
                if tensors_in((result, self._written)):  # and not a number
                    self._row.errors = Errors(0.0, 0.0, 0.0)
                    self._keep_row()
                return
            made = tensors_in((result, self._written))
            wanted = tensors_in((self._result, self._into))
            for failure, side in zip(self._failures, ("the reference", "the device with its inputs"), strict=True):
                if failure:
                    self._session.differs(f"{side} cannot make {self._row.call}: {failure}")
            if self._failures[0]:
                self._take_as_is(made)
            elif not all(map(followed, made)):
                self._session.differs(f"{self._row.op} gives a tensor that cannot be followed")
                self._take_as_is(made)
            elif not made:
                self._compare_numbers(result)
            elif [t.shape for t in made] != [t.shape for t in wanted]:
                shapes = (str([list(t.shape) for t in of]) for of in (made, wanted))
                self._session.differs(f"{self._row.op} gives other shapes", *shapes)
                self._take_as_is(made)
            else:
                self._compare_tensors(made, wanted)

    def _stand_ins(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any], list[torch.Tensor]]:
        """The arguments with the reference's values, and those of them that the op writes to."""
        with without_modes():  # and not as inference tensors, unless the program's are
            stand_in = StandIns(self._session, self._session.shadows, self._written)
            args, kwargs = tree_map_only(torch.Tensor, stand_in, (args, kwargs))
            return args, kwargs, [stand_in(tensor) for tensor in self._written]

    def _make_alone(self, alone: Makes, args: tuple, kwargs: dict[str, Any], written: list[torch.Tensor]) -> None:
        try:
            made = alone(self._plan.op, args, kwargs)
        except (TtregError, RefusedByDevice) as error:  # with the program's own inputs it may be possible
            self._failures[1] = first_line(error)
            return
        with unseen():
            self._alone = self._read((made, written))

    def _make_reference(self, args: tuple, kwargs: dict[str, Any]) -> None:
        session, op = self._session, self._plan.op
        try:
            self._result, inputs = reference_of(session.shadows, session.in_double, op, args, kwargs)
        except Exception as error:  # PyTorch raises exceptions of any type; the program's call may raise the same one
            self._failures[0] = f"{type(error).__name__}: {first_line(error)}"
            return
        self._into = [inputs[id(tensor)] for tensor in self._written]
        dtype = next((t.dtype for t in tensors_in((args, kwargs)) if t.is_floating_point()), torch.float32)
        eps = torch.finfo(session.carriers.narrow.get(dtype, dtype)).eps
        # The largest rounding error of the inputs: the result of a sum that cancels may be no larger than this.
        self._noise = lambda: eps * norm(list(inputs.values()))
        if cancels(op):
            least = self._noise()
            self._noise = lambda: least

    def _compare_tensors(self, made: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
        session, row = self._session, self._row
        got = self._read(made)
        row.errors = self._errors(got, wanted)
        self._keep_row()
        off = row.errors is not None and session.findings.is_off(row.errors)
        row.passes = off and not self._was_off
        written = {id(tensor) for tensor in self._written}
        for tensor, reference, values in zip(made, wanted, got, strict=True):
            shadow = session.shadows.find(tensor)
            if id(tensor) in written and shadow is not None:
                whole = metadata_of(tensor).numel == shadow.elements.numel()
                if whole and values is not None and equal(values, reference):
                    session.shadows.drop(tensor)
                    continue
                shadow.passed = off or (shadow.passed and not whole)
                session.shadows.mark(tensor)
            elif id(tensor) not in written and memory_of(tensor) in self._memories:
                pass  # an alias of an argument
            elif values is None or not equal(values, reference):
                session.shadows.put(tensor, reference, off)

    def _errors(self, got: Read, wanted: list[torch.Tensor]) -> Errors | None:
        """The errors of results that exist. This does not compute outputs that nobody has asked for yet."""
        alone: Sequence[torch.Tensor | None] = got if self._alone is None else self._alone
        if self._row.placement != "device" and not self._session.in_double:
            alone = wanted  # on the reference's inputs the host computes the same as the reference
        triples = [t for t in zip(got, wanted, alone, strict=True) if t[0] is not None]
        if not triples:
            return None
        known = not self._failures[1] and all(a is not None and a.shape == w.shape for _, w, a in triples)
        columns: Any = zip(*(t if known else (t[0], t[1], t[0]) for t in triples), strict=True)
        values, right, own = columns
        found = errors(values, right, own, self._noise, cancels(self._plan.op))
        return found if known else replace(found, own=None, inherited=None, own_non_finite=0)

    def _compare_numbers(self, result: Any) -> None:
        """Compare a number that the program reads from a tensor."""
        off = not same_number(result, self._result, self._session.findings.budget)
        if off:
            self._session.differs(READS, shown(result), shown(self._result))

    def _keep_row(self) -> None:
        """Record the call, unless it only fills memory with the right values."""
        if self._computes or self._row.errors != Errors(0.0, 0.0, 0.0):
            self._session.findings.calls.append(self._row)

    def _take_as_is(self, made: list[torch.Tensor]) -> None:
        if made:
            self._keep_row()
        for tensor in filter(followed, made):
            self._session.shadows.drop(tensor)

    def _read(self, value: Any) -> Read:
        session = self._session
        return [
            None if isinstance(t, DeviceTensor) and t._cell.lazy is not None else session.peek(t).detach()
            for t in tensors_in(value)
        ]
