"""Numbers that a function computes from what changes at each call, such as an optimizer's count of steps.

While a call is recorded, such a `Number` computes as a float does, and the tape gets each operation: a replay makes it
again with the numbers of its call. Where Python compares two, the replay has to see the same outcome. Code that takes a
Number for a plain float, as C functions do, leaves no trace on the tape. So only code that is known not to do that gets
one (`optimizers.py`), and `pin` makes the recording hold for the number's present value alone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from ..costs.calls import is_tensor
from ..plan import Plan
from ..runtime.lowering import run_lowering
from ..runtime.session import Session
from .words import Miss, Ref, outcome_of

_LARGEST = 3e38  # beyond, the device takes no number


class Numbers:
    """The numbers of one recording, each by how it was made."""

    def __init__(self, tape: Any):
        self.tape = tape
        self._made: dict[tuple, Any] = {}
        self.given: Number | None = None  # what a torch function was given that is running
        self.found, self.lost = 0, False  # how often ops got it, and whether its parts may have got what is made of it
        self.for_lowering: tuple[Any, str] | None = None  # the op that comes, and its argument that is the number
        self.reads = False  # whether a read gives a number
        self.read: Ref | None = None  # the register of it

    def of(self, key: tuple, function: Callable[..., Any], *args: Any, value: float) -> Number:
        """The number that the function gives at each replay, and gives now."""
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self.at(self.tape.made(function, *args), value)
        return made

    def at(self, ref: Ref, value: float) -> Number:
        """The number in a register."""
        number = Number(value)
        number.ref, number.numbers = ref, self
        return number

    def computed(self, function: Callable[..., Any], *operands: Any, value: Any) -> Any:
        """What is computed of numbers; a replay computes it anew."""
        if type(value) is not float or not self.tape.on():
            for operand in operands:
                if isinstance(operand, Number):
                    operand.pin()
            return value
        key = (function, *(o.ref if isinstance(o, Number) else (type(o), repr(o)) for o in operands))
        words = [o.ref if isinstance(o, Number) else o for o in operands]
        return self.of(key, function, *words, value=value)

    def compared(self, function: Callable[..., Any], *operands: Any, outcome: bool) -> bool:
        """What a comparison gave; a replay holds for this outcome."""
        key = ("compared", function, *(o.ref if isinstance(o, Number) else (type(o), repr(o)) for o in operands))
        if key not in self._made and self.tape.on():
            self._made[key] = outcome
            words = [o.ref if isinstance(o, Number) else o for o in operands]
            self.tape.read(function, *words, outcome=outcome)
        return outcome

    def pin(self, number: Number) -> None:
        """Let the recording hold for this value of the number alone."""
        key = ("pinned", number.ref)
        if key not in self._made and self.tape.on():
            self._made[key] = True
            self.tape.read(outcome_of, number.ref, outcome=outcome_of(float.__pos__(number)))

    def is_given(self, value: Any) -> bool:
        """Whether an argument of an op is the number that the running function was given."""
        return self.given is not None and type(value) is float and value.hex() == float.hex(self.given)

    def within(self, number: Number, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call a torch function that hands the number on to one op, as one argument of it."""
        self.given, self.found, self.lost = number, 0, False
        try:
            return function(*map(plainly, args), **{name: plainly(value) for name, value in kwargs.items()})
        finally:
            self.given = None
            if self.found != 1 or self.lost:
                number.pin()


def plainly(value: Any) -> Any:
    """A Number as a float."""
    return float.__pos__(value) if isinstance(value, Number) else value


class Number(float):
    """A float whose value a replay computes anew."""

    ref: Ref
    numbers: Numbers

    def pin(self) -> None:
        """Let the recording hold for this value alone."""
        self.numbers.pin(self)

    def sqrt(self) -> Any:
        """Its square root."""
        return self.numbers.computed(math.sqrt, self, value=math.sqrt(float.__pos__(self)))

    def __float__(self) -> float:
        self.pin()
        return float.__pos__(self)

    __hash__ = float.__hash__  # equal numbers have equal hashes; what is looked up is compared too


def _are_numbers(number: Number, others: tuple) -> bool:
    """Whether Python computes with these; what other types do with the number is not seen."""
    if all(type(other) in (int, float, bool, Number) for other in others):
        return True
    if not all(isinstance(other, torch.Tensor) for other in others):
        number.pin()
    return False


def _computes(name: str, function: Callable[..., Any], swapped: bool = False) -> None:
    def method(self: Number, *others: Any) -> Any:
        if not _are_numbers(self, others):
            return NotImplemented
        operands = (*others, self) if swapped else (self, *others)
        return self.numbers.computed(function, *operands, value=function(*map(plainly, operands)))

    setattr(Number, name, method)


def _compares(name: str, function: Callable[..., Any]) -> None:
    def method(self: Number, *others: Any) -> Any:
        if not _are_numbers(self, others):
            return NotImplemented
        outcome = function(*map(plainly, (self, *others)))
        return self.numbers.compared(function, self, *others, outcome=outcome)

    setattr(Number, name, method)


def _pins(name: str) -> None:
    own = getattr(float, name)

    def method(self: Number, *others: Any) -> Any:
        self.pin()
        return own(plainly(self), *others)

    setattr(Number, name, method)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _computes(f"__{_name}__", getattr(operator, _name))
    _computes(f"__r{_name}__", getattr(operator, _name), swapped=True)
for _name in ("neg", "abs"):
    _computes(f"__{_name}__", getattr(operator, _name))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _compares(f"__{_name}__", getattr(operator, _name))
_compares("__bool__", bool)
for _name in (
    *("__int__", "__round__", "__trunc__", "__floor__", "__ceil__", "__divmod__", "__rdivmod__", "__format__"),
    *("__repr__", "__str__", "__reduce__", "__reduce_ex__", "hex", "is_integer", "as_integer_ratio"),
):
    _pins(_name)


class LoweringStep:
    """A step that makes the ttnn calls of an op anew, since they depend on a number."""

    def __init__(self, session: Session, plan: Plan, name: str):
        self._session, self._plan, self._name = session, plan, name

    def __call__(self, arguments: dict[str, Any]) -> Any:
        session, plan = self._session, self._plan
        assert plan.work is not None  # the recorded call has run
        if not abs(arguments[self._name]) < _LARGEST:  # NaN too
            raise Miss(f"the number for {plan.op} is {arguments[self._name]}")
        return session.recorder.run(plan.work, run_lowering, session.tt, session.carriers, plan, arguments)[0]


def lowered(session: Session, tape: Any, plan: Plan, arguments: dict[str, Any]) -> list[Any]:
    """As `Session.lower`; a call that was given a number is one step of the replay."""
    waiting = tape.numbers.for_lowering
    if not tape.on() or waiting is None or waiting[0] is not plan.op or len(plan.outputs) != 1:
        return Session.lower(session, plan, arguments)
    name, tape.numbers.for_lowering = waiting[1], None
    with tape.paused():
        if plan.work is None:
            Session.lower(session, plan, arguments)  # which counts it
        values = run_lowering(session.tt, session.carriers, plan, arguments)
    if not is_tensor(values[0]) or not tape.on():
        return Session.lower(session, plan, arguments)
    words = {**tape.words(arguments), name: tape.numbers.given.ref}
    if tape.on():
        tape.bind(values[0], tape.made(LoweringStep(session, plan, name), words))
        tape.numbers.found += 1
    return values
