"""Turns the events of a recording into plain Python code, in which each value is let go of after its last use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .words import Event, External, Given, Plain, Ref

Run = Callable[[list[Any], list[Any]], Any]  # registers and the tensors of the arguments; gives what a read saw


@dataclass(frozen=True)
class Segment:
    """A row of events without a read, and the read at its end; `outcome` is what the recorded program saw there."""

    run: Run
    outcome: Any = None
    where: str = ""
    is_last: bool = False


@dataclass(frozen=True)
class Program:
    """The segments of one path through a function, and what they keep alive."""

    segments: tuple[Segment, ...]
    registers: int
    calls: int
    constants: tuple[Any, ...]


def compiled(events: list[Event], at_the_end: Iterable[Ref], registers: int) -> Program:
    """The events as code; the registers in `at_the_end` are not let go of."""
    kept = needed(events, at_the_end)
    dying = _deaths(kept, at_the_end)
    writer = _Writer()
    segments: list[Segment] = []
    for event, dead in zip(kept, dying, strict=True):
        if event.is_read:
            run = writer.function(f"return {writer.call(event)}")
            segments.append(Segment(run, event.outcome, event.where))
            writer.lines += writer.frees(dead)
        else:
            writer.add(event, dead)
    segments.append(Segment(writer.function("return None"), is_last=True))
    calls = sum(not event.is_read for event in kept)
    return Program(tuple(segments), registers, calls, tuple(writer.space.values()))


def needed(events: list[Event], at_the_end: Iterable[Ref]) -> list[Event]:
    """The events without those whose results nobody uses."""
    used = set(at_the_end)
    kept = []
    for event in reversed(events):
        results = {ref for _, ref in event.results}
        if event.pure and not (results & used or used.intersection(event.writes)):
            continue
        used |= uses(event)
        kept.append(event)
    return kept[::-1]


def uses(event: Event) -> set[Ref]:
    """The registers that an event reads."""
    found: set[Ref] = set()

    def look(value: Any) -> None:
        if isinstance(value, Ref):
            found.add(value)
        elif isinstance(value, Plain):
            found.add(value.storage)
        elif isinstance(value, (list, tuple)):
            for item in value:
                look(item)
        elif type(value) is dict:
            look(tuple(value.values()))

    look(event.args)
    look(tuple(event.kwargs.values()))
    return found


def _deaths(events: list[Event], at_the_end: Iterable[Ref]) -> list[set[Ref]]:
    living = set(at_the_end)
    found = []
    for event in reversed(events):
        touched = uses(event) | {ref for _, ref in event.results}
        found.append(touched - living)
        living |= touched
    return found[::-1]


class _Writer:
    """Lines of Python, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.space: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def add(self, event: Event, dead: set[Ref]) -> None:
        """A line for an event, and then for the registers that are of no use any more."""
        call = self.call(event)
        if len(event.results) == 1 and not event.results[0][0]:
            ref = event.results[0][1]
            self.lines.append(call if ref in dead else f"R[{ref.number}] = {call}")
            dead = dead - {ref}
        elif event.results:
            self.lines.append(f"r = {call}")
            stored = [(path, ref) for path, ref in event.results if ref not in dead]
            self.lines += [f"R[{ref.number}] = r{path}" for path, ref in stored]
            self.lines.append("r = None")
            dead = dead - {ref for _, ref in event.results}
        else:
            self.lines.append(call)
        self.lines += self.frees(dead)

    def frees(self, dead: set[Ref]) -> list[str]:
        """The line that lets go of registers."""
        numbers = sorted(ref.number for ref in dead)
        return [" = ".join(f"R[{number}]" for number in numbers) + " = None"] if numbers else []

    def call(self, event: Event) -> str:
        """The event as an expression."""
        given = [self.expression(value) for value in event.args]
        given += [f"{name}={self.expression(value)}" for name, value in event.kwargs.items()]
        function = event.function
        if event.instead is not None and not _just_from_outside(event.args[0]):
            function = event.instead
        return f"{self.constant(function)}({', '.join(given)})"

    def expression(self, value: Any) -> str:
        """An argument of an event."""
        if isinstance(value, Ref):
            return f"R[{value.number}]"
        if isinstance(value, Given):
            return self._external(value.external)
        if isinstance(value, Plain):
            if value.whole is not None and not value.whole.written:
                return self._external(value.whole)
            return f"{self.constant(value.meta)}.on_storage(R[{value.storage.number}])"
        if type(value) in (list, tuple) and _has_words(value):
            items = ", ".join(map(self.expression, value))
            return f"[{items}]" if isinstance(value, list) else f"({items},)"
        if type(value) is dict and _has_words(tuple(value.values())):
            return "{" + ", ".join(f"{key!r}: {self.expression(item)}" for key, item in value.items()) + "}"
        return self.constant(value)

    def constant(self, value: Any) -> str:
        """The name of an object that the code refers to."""
        key = id(value)
        if key not in self._names:
            self._names[key] = name = f"k{len(self._names)}"
            self.space[name] = value
        return self._names[key]

    def function(self, end: str) -> Run:
        """The lines so far as a function that ends in the line `end`."""
        body = "\n ".join([*self.lines, end])
        self.lines = []
        space = dict(self.space)
        exec(compile(f"def segment(R, X):\n {body}\n", "<recorded calls>", "exec"), space)
        return space["segment"]

    def _external(self, external: External) -> str:
        if external.owner is not None:
            return f"{self._external(external.owner)}.grad"
        if external.argument is not None:
            return f"X[{external.argument}]"
        return self.constant(external.tensor)


def _just_from_outside(value: Any) -> bool:
    return isinstance(value, Plain) and value.whole is not None and not value.whole.written


def _has_words(values: Any) -> bool:
    return any(
        isinstance(value, (Ref, Given, Plain))
        or (type(value) in (list, tuple) and _has_words(value))
        or (type(value) is dict and _has_words(tuple(value.values())))
        for value in values
    )
