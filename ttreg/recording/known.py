"""The values of the device that a recording knows, and its steps in their order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..costs.calls import is_tensor
from ..devices.base import KeptWeights, Value
from ..images import Image
from ..memory.cell import Cell
from ..on_demand import OnDemand
from .externals import Externals
from .numbers import Numbers
from .steps import same
from .words import Event, External, Ref

_UNUSED = 2  # the reference count of a value that only the tape holds: its own entry, and getrefcount's argument
_SWEEP_EVERY = 16  # calls


class Known:
    """What a recording has seen of the device until now; `failed` says why there will be none."""

    def __init__(self, session: Any, externals: Externals, here: Callable[[], str]):
        self.session, self.externals = session, externals
        self.failed: str | None = None
        self.may_succeed = False  # whether a later call may be recorded although this one failed
        self.events: list[Event] = []
        self.registers = 0
        self.draws = False  # whether it uses the random generator
        self.numbers = Numbers(self)
        self._here, self._thread, self._pauses, self._ended = here, threading.get_ident(), 0, False
        self._living: dict[int, list[Any]] = {}  # by identity: a value of the device, and its register
        self._constants: dict[int, Any] = {}  # by identity
        self._storages: dict[int, tuple[torch.UntypedStorage, Ref]] = {}
        self._fixed: set[int] = set()  # storages whose content is the same at each call
        self._uploads: dict[tuple, Value] = {}
        self.initial: dict[int, tuple[External, Cell, Value]] = {}  # of external cells, what they held at first
        self._calls = 0
        self.in_calls = 0  # how many calls of ops the thread is in; none while the program itself runs

    def on(self) -> bool:
        """Whether what happens now belongs to the recording."""
        return self.failed is None and not self._pauses and not self._ended and threading.get_ident() == self._thread

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While open, the thread does what is no part of the recording."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    def fail(self, reason: str) -> None:
        """End the recording. The program goes on as it would without."""
        if self.failed is None:
            where = self._here()
            self.failed = f"{reason} (at {where})" if where else reason
            self.forget()

    def end(self) -> None:
        """Record nothing from now on."""
        self._ended = True

    def forget(self) -> None:
        """Let go of what was only needed while the call ran."""
        self.events = [] if self.failed is not None else self.events
        for kept in (self._living, self._storages, self._uploads, self._constants):
            kept.clear()

    def register(self) -> Ref:
        """A new register."""
        self.registers += 1
        return Ref(self.registers - 1)

    def add(self, function: Any, *args: Any, **more: Any) -> Event:
        """Record a step."""
        event = Event(function, args, **more)
        self.events.append(event)
        return event

    def made(self, function: Any, *args: Any, **more: Any) -> Ref:
        """Record a step that has one result."""
        ref = self.register()
        self.add(function, *args, results=[("", ref)], **more)
        return ref

    def read(self, function: Any, *args: Any, outcome: Any) -> None:
        """Record that the program saw a value, on which everything that follows may depend."""
        self.add(function, *args, outcome=outcome, is_read=True, pure=False, where=self._here())

    def called(self, function: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Record a ttnn call."""
        self._calls += 1
        if self._calls % _SWEEP_EVERY == 0:
            self._sweep()
        found = [value for value in (result if isinstance(result, (list, tuple)) else [result]) if is_tensor(value)]
        if not found:
            if isinstance(result, torch.Tensor):
                self.fail("it reads a value of the device with ttnn")
            return
        given, named = self.words(args), self.words(kwargs)
        if self.failed is not None:
            return
        event = Event(function, given, named, on_device=True)
        if is_tensor(result):
            self._bind_results(event, [("", result)])
        else:
            self._bind_results(event, [(f"[{n}]", value) for n, value in enumerate(result) if is_tensor(value)])
        self.events.append(event)

    def _bind_results(self, event: Event, values: list[tuple[str, Any]]) -> None:
        for path, value in values:
            if id(value) not in self._living and id(value) not in self._constants:
                ref = self.register()
                self._living[id(value)] = [value, ref]
                event.results.append((path, ref))

    def words(self, value: Any) -> Any:
        """An argument of a ttnn call, with registers for values that a replay makes anew."""
        if type(value) is tuple:
            return tuple(map(self.words, value))
        if type(value) is list:
            return [self.words(item) for item in value]
        if type(value) is dict:
            return {key: self.words(item) for key, item in value.items()}
        entry = self._living.get(id(value))
        if entry is not None:
            return entry[1]
        if isinstance(value, OnDemand) and self.is_constant(value):
            return value
        if is_tensor(value) and id(value) not in self._constants:
            self.fail("it uses a value of the device that was made before, and that no tensor in reach holds")
        if isinstance(value, (Image, OnDemand)):
            self.fail("a ttnn call takes what is no tensor of ttnn")
        if isinstance(value, KeptWeights) and id(value) not in self._constants:
            self.fail("it uses a prepared kernel that was made before")
        return value

    def ref(self, value: Value) -> Any:
        """The register of a value, or the value itself if it is a constant."""
        return self.words(value)

    def bind(self, value: Any, ref: Ref) -> None:
        """Note in which register a replay has its own version of a value."""
        entry = self._living.get(id(value))
        if entry is not None:  # two tensors hold one value: at a replay they have to hold one again
            self.add(same, ref, entry[1], pure=False)
        elif id(value) in self._constants:
            self.add(same, ref, value, pure=False)
        else:
            self._living[id(value)] = [value, ref]

    def constant(self, value: Any) -> None:
        """Note that a value is the same at each call, as long as the recording's guards hold."""
        if isinstance(value, (list, tuple)):
            for item in value:
                self.constant(item)
            return
        entry = self._living.get(id(value))
        if entry is not None:
            self.add(same, entry[1], value, pure=False)
        self._constants[id(value)] = value

    def is_constant(self, value: Any) -> bool:
        """Whether a value is the same at each call."""
        return id(value.source if isinstance(value, OnDemand) else value) in self._constants

    def object(self, value: Any, make: Callable[[], Any]) -> None:
        """Note an object that a replay has to make anew, such as the kernels prepared from weights that change."""
        self._living[id(value)] = [value, self.made(make)]

    def _sweep(self) -> None:
        dead = [key for key, entry in self._living.items() if sys.getrefcount(entry[0]) <= _UNUSED]
        for key in dead:
            del self._living[key]
