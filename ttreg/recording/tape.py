"""The tape of one recording: the events of a call in their order, and where each value that they use comes from.

A value of the device is known if a recorded ttnn call made it, if it was loaded from an external tensor, or if it is a
constant, such as an uploaded weight. A host tensor is known by its storage. A call with an unknown value ends the
recording: then nobody could say whether the value is the same at the next call.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..costs.calls import is_tensor
from ..devices.base import KeptWeights, Value
from ..memory.cell import Cell
from ..memory.pieces import in_one_piece, only_whole
from ..memory.tensor import DeviceTensor
from ..memory.uploads import is_parameter
from ..memory.watch import storage_of
from ..meta import meta_of
from .externals import Externals
from .steps import cloned_storage, kept_value, loaded, memory, same, storage_held
from .words import Event, External, Given, Plain, Ref, content

_UNUSED = 2  # the reference count of a value that only the tape holds: its own entry, and getrefcount's argument
_SWEEP_EVERY = 16  # calls


class Tape:
    """What a recording has seen until now; `failed` says why there will be none."""

    def __init__(self, session: Any, externals: Externals, here: Callable[[], str]):
        self.session, self.externals = session, externals
        self.failed: str | None = None
        self.may_succeed = False  # whether a later call may be recorded although this one failed
        self.events: list[Event] = []
        self.registers = 0
        self.draws = False  # whether it uses the random generator
        self._here, self._thread, self._pauses, self._ended = here, threading.get_ident(), 0, False
        self._living: dict[int, list[Any]] = {}  # by identity: a value of the device, and its register
        self._constants: dict[int, Any] = {}  # by identity
        self._storages: dict[int, tuple[torch.UntypedStorage, Ref]] = {}
        self._fixed: set[int] = set()  # storages whose content is the same at each call
        self._uploads: dict[tuple, Value] = {}
        self.initial: dict[int, tuple[External, Cell, Value]] = {}  # of external cells, what they held at first
        self._calls = 0

    def on(self) -> bool:
        """Whether what happens now belongs to the recording."""
        return (
            self.failed is None
            and not self._pauses
            and not self._ended
            and threading.get_ident() == self._thread
        )

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

    # Values of the device.

    def called(self, function: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Record a ttnn call."""
        self._calls += 1
        if self._calls % _SWEEP_EVERY == 0:
            self._sweep()
        found = [value for value in (result if isinstance(result, (list, tuple)) else [result]) if is_tensor(value)]
        if not found:
            return
        given, named = self.words(args), self.words(kwargs)
        if self.failed is not None:
            return
        event = Event(function, given, named)
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
        if is_tensor(value) and id(value) not in self._constants:
            self.fail("it uses a value of the device that was made before, and that no tensor in reach holds")
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
        return id(value) in self._constants

    def object(self, value: Any, make: Callable[[], Any]) -> None:
        """Note an object that a replay has to make anew, such as the kernels prepared from weights that change."""
        self._living[id(value)] = [value, self.made(make)]

    def _sweep(self) -> None:
        dead = [key for key, entry in self._living.items() if sys.getrefcount(entry[0]) <= _UNUSED]
        for key in dead:
            del self._living[key]

    # Tensors.

    def meet(self, tensor: DeviceTensor) -> None:
        """Load an external tensor of the device when a call first takes it."""
        cell = tensor._cell
        external = None if id(cell) in self.initial else self.externals.of_cell(cell)
        if external is None:
            return
        if (cell.values or cell.lazy is not None) and not self.session.holds(tensor):
            self.fail("it uses a tensor of another session")
            return
        with self.paused():
            only_whole(cell)
        value = cell.values.get(cell.whole)
        self.initial[id(cell)] = external, cell, value
        if value is not None:
            self.bind(value, self.made(loaded, Given(external), cell.whole))

    def external_of(self, cell: Cell) -> External | None:
        """The external tensor over a cell."""
        return self.externals.of_cell(cell)

    def for_host(self, tensor: Any) -> None:
        """As `on_host`, for a tensor of any kind, or None."""
        if isinstance(tensor, DeviceTensor):
            self.on_host(tensor)

    def read_of(self, tensor: DeviceTensor) -> None:
        """Record that the program reads the content of a tensor of the device."""
        if self.on():
            self.on_host(tensor)
            storage = tensor._cell.storage
            if storage is not None and self.on():
                plain = tensor._meta.on_storage(storage)
                self.read(content, self.plain(plain), outcome=content(plain))

    def given_away(self, tensor: DeviceTensor) -> None:
        """End the recording, since the program gets the memory of a tensor."""
        if self.on():
            self.fail("it hands the memory of a tensor of the device to other code, such as NumPy")

    def on_host(self, tensor: DeviceTensor) -> None:
        """Bring the content of a tensor to the host, where a step needs it."""
        cell = tensor._cell
        if cell.storage is not None and self._known(cell.storage) is not None:
            return
        self.meet(tensor)
        if cell.storage is not None and not cell.values:
            return  # an external one
        in_one_piece(cell)
        value = cell.values.get(cell.whole)
        if value is None:
            return
        given = self.ref(value)
        with self.paused():
            cell.host_view(cell.root)
        if self.failed is not None or cell.storage is None:
            return
        ref = self.made(memory, self.session, given, cell.root, cell.image is not None, cell.nbytes)
        self.keep_storage(cell.storage, ref)

    def keep_storage(self, storage: torch.UntypedStorage, ref: Ref, fixed: bool = False) -> None:
        """Note in which register a replay has its own version of a storage."""
        self._storages[storage._cdata] = storage, ref
        if fixed:
            self._fixed.add(storage._cdata)
        else:
            self._fixed.discard(storage._cdata)

    def is_fixed(self, storage: torch.UntypedStorage) -> bool:
        """Whether a storage has the same content at each call."""
        return storage._cdata in self._fixed

    def _known(self, storage: torch.UntypedStorage) -> Ref | None:
        found = self._storages.get(storage._cdata)
        if found is not None:
            return found[1]
        external = self.externals.of_storage(storage)
        if external is None:
            return None
        external.load = Event(storage_held, (Given(external),), results=[("", self.register())])
        self.events.append(external.load)
        ref = external.load.results[0][1]
        self.keep_storage(storage, ref)
        return ref

    def plain(self, plain: torch.Tensor) -> Any:
        """A tensor of the host as an argument of a step."""
        storage, meta = storage_of(plain), meta_of(plain)
        ref = self._known(storage)
        if ref is None:
            self.fail("it uses a tensor of the host that was made before, and that nothing in reach holds")
            return plain
        external = self.externals.of_storage(storage)
        whole = None
        if external is not None and not isinstance(external.tensor, DeviceTensor):
            whole = external if meta_of(external.tensor) is meta else None
        return Plain(ref, meta, whole)

    def knows(self, storage: torch.UntypedStorage) -> Ref | None:
        """The register of a storage that the recording has met."""
        found = self._storages.get(storage._cdata)
        return found[1] if found is not None else None

    def wrote(self, storage: torch.UntypedStorage) -> None:
        """Note that a host op has written to a storage."""
        self._uploads = {key: value for key, value in self._uploads.items() if key[0] != storage._cdata}
        external = self.externals.of_storage(storage)
        if external is None:
            return
        external.written = True
        if external.load is not None:
            external.load.function = cloned_storage
        if external.constant:
            self.externals.changes.add(id(external.tensor))
            self.fail(f"it writes to {external.name}, which it has used before; the next call is recorded anew")
            self.may_succeed = True

    def _stays(self, external: External, plain: torch.Tensor) -> bool:
        """Whether a weight is a constant of the recording, as long as its version stands still."""
        tensor = external.tensor
        if not is_parameter(plain) or isinstance(tensor, DeviceTensor) or not self.externals.may_be_constant(external):
            return False
        return external.constant or self.session.uploads.trusts(tensor)

    def uploaded(self, plain: torch.Tensor, form: tuple, make: Callable[[], Value], step: Any, more: tuple) -> Value:
        """The value of a tensor of the host, which a replay uploads anew unless the tensor is a constant."""
        storage, meta = storage_of(plain), meta_of(plain)
        external = self.externals.of_storage(storage)
        if external is not None and self._stays(external, plain):
            external.constant = True
            with self.paused():
                value = kept_value(self.session, plain, *more)
            self.constant(value)
            return value
        key = (storage._cdata, meta, *form)
        value = self._uploads.get(key)
        if value is not None and (id(value) in self._living or id(value) in self._constants):
            return value
        word = self.plain(plain)
        with self.paused():
            value = make()  # an object of its own: equal content at this call does not mean equal content at the next
        if self.failed is not None:
            return value
        self._uploads[key] = value
        if self.is_fixed(storage):
            self._constants[id(value)] = value
        else:
            self._living[id(value)] = [value, self.made(step, word, *more)]
        return value
