"""Notes the ttnn calls of a session: always their names, and from time to time all that their cost depends on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any, NoReturn

from .calls import DeviceCall, device_call, is_tensor, operand
from .programs import NewPrograms, Programs
from .work import Amount, Work, amount_of

# The reference count of a value that only the list of what a unit made holds: its entry, and getrefcount's argument.
_UNUSED = 2

# Units without a plan that are kept apart. New shapes and numbers make new ones for ever.
_MOST_UNITS = 1 << 12


class Recorder:
    """The ttnn calls of one session, by the unit of work that they belong to; used under the device's lock.

    A unit is what a session does in one go: a plan's lowering, a view that is made of its storage, a conversion. It
    costs an entry in a list per call, and one look into a dict per unit. Only a few runs of each unit are looked at in
    detail. A call outside all units always is, because nobody says when it comes again.
    """

    def __init__(self, programs: Programs, held: Callable[[], int]):
        self.names: list[str] = []
        self.looking = True
        self.programs, self.new_programs = programs, NewPrograms()
        self.peak, self.peak_at = 0, ""
        self._held, self._count = held, programs.count
        # Asked about a call that the device failed to make: gives its result, or raises. Whoever has sessions sets it.
        self.again: Callable[..., Any] = _raised
        self._units: dict[Hashable, Work] = {}
        self._earlier: dict[str, Amount] = {}  # of units that are kept no more, by label
        self._elsewhere = Amount()
        self._unit: Work | None = None
        self._calls: list[DeviceCall] = []
        self._made: list[tuple[Any, int]] = []  # what the current unit made, with its bytes
        self._base = 0  # bytes that were held before the unit
        self._seen = 0  # new programs that looks have counted

    def run(self, unit: Work, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns, with its calls counted as a run of the unit."""
        if unit.looks or self.names or self._unit is not None:
            return self._run_looking(unit, function, args)
        self._unit, self.looking, before = unit, False, self._count()
        try:
            return function(*args)
        finally:
            self._unit, self.looking = None, True
            names = tuple(self.names)
            self.names.clear()
            variant = unit.variants.get(names)
            unit.runs += 1
            if variant is None or unit.runs == unit.look_at or self._count() != before:
                self._note_new(unit, self._count() - before)
                unit.ran(names, None)
            else:
                variant.count += 1
                unit.last = variant

    def _run_looking(self, unit: Work, function: Callable[..., Any], args: tuple) -> Any:
        """As `run`, where the unit is to be looked at, where it is part of another one, or where calls went before."""
        outer = self._unit
        if outer is None and self.names:
            self._sweep()
        first, first_call, seen, before = len(self.names), len(self._calls), self._seen, self._count()
        self._unit, self.looking = unit, unit.looks
        if unit.looks:
            self._made.clear()
            self._base = self._held()
            self._reach(self._base)
        try:
            return function(*args)
        finally:
            self._unit, self.looking = outer, outer is None or outer.looks
            self._note_new(unit, self._count() - before - (self._seen - seen))
            calls = tuple(self._calls[first_call:]) if unit.looks else None
            unit.runs += 1
            unit.ran(tuple(self.names[first:]), calls)
            del self.names[first:], self._calls[first_call:]
            self._made.clear()

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The ttnn function, with its calls noted."""
        note, look = self.names.append, self.look

        def call(*args: Any, **kwargs: Any) -> Any:
            note(name)
            if self.looking:
                return look(name, function, args, kwargs)
            try:
                return function(*args, **kwargs)
            except Exception as failure:
                return self.again(failure, function, args, kwargs)

        return call

    def moved(self, label: str, move: Callable[..., Any], *args: Any) -> Any:
        """What a transfer gives, as a run of the unit of that label."""
        return self.run(self.work(label), self.made_or_again, move, args, {})

    def settle(self) -> None:
        """Sum up what is noted, and let go of the values that calls outside of all units have made."""
        if self._unit is None:
            self._sweep()

    def work(self, label: str, key: Hashable = None) -> Work:
        """The unit with this label and key."""
        unit = self._units.get((label, key))
        if unit is None:
            if len(self._units) >= _MOST_UNITS:
                self._sum_up()
            unit = self._units[label, key] = Work(label)
        return unit

    def _sum_up(self) -> None:
        """Keep of the units what they come to, but for the one that runs."""
        running = {key: unit for key, unit in self._units.items() if unit is self._unit}
        for unit in self._units.values():
            if unit is not self._unit:
                self._earlier.setdefault(unit.label, Amount()).add(unit.amount())
        self._units = running

    def amounts(self) -> dict[str, Amount]:
        """What all units without a plan had the device do, by label."""
        found = {"elsewhere": Amount()}
        found["elsewhere"].add(self._elsewhere)
        if self._unit is None and self.names:
            found["elsewhere"].add(amount_of(self._calls))
        for label, amount in list(self._earlier.items()):
            found.setdefault(label, Amount()).add(amount)
        for unit in list(self._units.values()):
            found.setdefault(unit.label, Amount()).add(unit.amount())
        return {label: amount for label, amount in found.items() if amount.calls}

    def look(self, name: str, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Make a call, and note all that its cost depends on."""
        self._made = [entry for entry in self._made if sys.getrefcount(entry[0]) > _UNUSED]
        before = self._count()
        try:
            result = self.made_or_again(function, args, kwargs)
        except BaseException:
            self.names.pop()  # the device has nothing to do for a call that is refused
            raise
        call = device_call(name, args, kwargs, result)
        self._calls.append(call)
        new = self.programs.by(call, before)
        if new:
            self.new_programs.add(new, self._unit.label if self._unit is not None else "", call)
            self._seen += self._count() - before
        self._hold(args, result, call)
        self._reach(self._base + sum(nbytes for _, nbytes in self._made))
        return result

    def made_or_again(self, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """What the function returns; if the device fails, what `again` makes of that."""
        try:
            return function(*args, **kwargs)
        except Exception as failure:
            return self.again(failure, function, args, kwargs)

    def _hold(self, args: tuple, result: Any, call: DeviceCall) -> None:
        """Note the memory of a result; one that only shows an argument's memory otherwise takes that over."""
        made = [value for value in (result if isinstance(result, (list, tuple)) else [result]) if is_tensor(value)]
        if call.read + call.written:
            self._made += [(value, operand(value).held) for value in made]
        elif made:
            shown = sum(nbytes for value, nbytes in self._made if value is args[0])
            self._made = [(value, 0 if value is args[0] else nbytes) for value, nbytes in self._made]
            self._made.append((made[0], shown))

    def _note_new(self, unit: Work, count: int) -> None:
        """Count new programs that a unit's unseen calls have made."""
        if count > 0:
            self.new_programs.add(count, unit.label, None)

    def _reach(self, nbytes: int) -> None:
        unit = self._unit
        if unit is not None:
            unit.peak = max(unit.peak, nbytes)
        if nbytes > self.peak:
            self.peak, self.peak_at = nbytes, unit.label if unit is not None else ""

    def _sweep(self) -> None:
        """Sum up the calls that were made outside of all units."""
        self._elsewhere.add(amount_of(self._calls))
        self.names.clear()
        self._calls.clear()
        self._made.clear()


def _raised(failure: Exception, *_: Any) -> NoReturn:
    try:
        raise failure
    finally:
        del failure  # it would keep this frame alive


class CountedApi:
    """A device's ttnn functions, with their calls noted by a recorder; everything else as it is."""

    def __init__(self, api: Any, recorder: Recorder, prefix: str = ""):
        self._api, self._recorder, self._prefix = api, recorder, prefix

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._api, name)
        if isinstance(attribute, ModuleType) or _makes_attributes(type(attribute)):  # `ttnn.transformer`
            attribute = CountedApi(attribute, self._recorder, f"{self._prefix}{name}.")
        elif name != "device" and callable(attribute) and not isinstance(attribute, type):
            attribute = self._counted(name, attribute)
        setattr(self, name, attribute)
        return attribute

    def _counted(self, name: str, attribute: Callable[..., Any]) -> Callable[..., Any]:
        make = getattr(type(self._api), "counted", None)  # a chip's API notes calls in the frame that it has anyway
        made = make(self._api, name, self._recorder) if make is not None else None
        return made if made is not None else self._recorder.counted(f"{self._prefix}{name}", attribute)


def _makes_attributes(kind: type) -> bool:
    """Whether objects of a type have a `__getattr__`: their own type's, since enumerations have one of CPython 3.10."""
    return any("__getattr__" in vars(base) for base in kind.__mro__) and not issubclass(kind, type)
