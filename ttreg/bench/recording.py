"""Records the ttnn calls of a session, so that they can be replayed without ttreg."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..devices.chip import Chip

# The reference count of a tensor that only the recorder holds: its own entry, and the argument of getrefcount.
_UNUSED = 2


class Recorder:
    """Records ttnn calls as lines of a program, in which tensors are freed where the session freed them.

    Tensors that were there before are constants of the program, and so is every argument that is no tensor.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.after_each: Callable[[], object] | None = None  # called when a call has been recorded
        self._lines: list[str] = []
        self._globals: dict[str, Any] = {}
        self._names: dict[int, str] = {}  # of objects in _globals
        self._living: dict[int, list[Any]] = {}  # by identity: a tensor that a call has made
        self._results: dict[int, str] = {}  # the names of those
        self._on = False
        self._inside = False

    @contextmanager
    def on(self) -> Iterator[None]:
        """Record what is called in the context."""
        self._on = True
        try:
            yield
        finally:
            self._on = False
            self._note_deaths()

    def replay(self) -> Callable[[], None]:
        """A function that makes the recorded calls in their order, and returns nothing."""
        self._living.clear()
        body = "\n ".join(self._lines or ["pass"])
        space = dict(self._globals)
        exec(compile(f"def replay():\n {body}\n", "<recorded ttnn calls>", "exec"), space)
        return space["replay"]

    def recorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its calls recorded, except calls that it makes itself."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._on or self._inside:
                return function(*args, **kwargs)
            self._inside = True
            try:
                self._note_deaths()
                line = self._call(function, args, kwargs)
                result = function(*args, **kwargs)
                self._lines.append(f"r = {line}")
                self.calls += 1
                self._note_results(result, "r")
                self._lines.append("r = None")
                if self.after_each is not None:
                    self.after_each()
                return result
            finally:
                self._inside = False

        return call

    def _call(self, function: Any, args: tuple, kwargs: dict[str, Any]) -> str:
        given = [self._expression(value) for value in args]
        given += [f"{name}={self._expression(value)}" for name, value in kwargs.items()]
        return f"{self._constant(function)}({', '.join(given)})"

    def _expression(self, value: Any) -> str:
        if id(value) in self._living:
            return self._results[id(value)]
        if type(value) in (list, tuple) and any(id(v) in self._living for v in value):
            items = ", ".join(map(self._expression, value))
            return f"[{items}]" if isinstance(value, list) else f"({items},)"
        return self._constant(value)

    def _constant(self, value: Any) -> str:
        if id(value) not in self._names:
            self._names[id(value)] = name = f"k{len(self._names)}"
            self._globals[name] = value
        return self._names[id(value)]

    def _note_results(self, value: Any, expression: str) -> None:
        if isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                self._note_results(item, f"{expression}[{number}]")
        elif hasattr(value, "layout") and hasattr(value, "memory_config") and id(value) not in self._living:
            if id(value) in self._names:  # a constant, returned as it is
                return
            name = f"t{self.calls}_{len(self._living)}"
            self._living[id(value)] = [value]
            self._results[id(value)] = name
            self._lines.append(f"{name} = {expression}")

    def _note_deaths(self) -> None:
        dead = [key for key, entry in self._living.items() if sys.getrefcount(entry[0]) <= _UNUSED]
        for key in dead:
            del self._living[key]
            self._lines.append(f"{self._results.pop(key)} = None")


@contextmanager
def recording(chip: Chip) -> Iterator[Recorder]:
    """Let a recorder see the ttnn calls of sessions that are opened on the chip inside the context."""
    import ttnn

    recorder, api = Recorder(), chip.tt
    functions = [
        (module, name, value)
        for module in (ttnn, ttnn.transformer, ttnn.experimental)
        for name, value in vars(module).items()
        if callable(value) and not isinstance(value, type) and not name.startswith("_")
    ]
    for module, name, function in functions:
        setattr(module, name, recorder.recorded(function))
    chip.tt = type(api)(api.device)  # it keeps the functions that it has found
    try:
        yield recorder
    finally:
        chip.tt = api
        for module, name, function in functions:
            setattr(module, name, function)
