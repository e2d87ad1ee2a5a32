"""Keeps track of tensors whose values are not computed, and ends a program that asks for such a value."""

from __future__ import annotations

import weakref
from typing import Any, NoReturn, Protocol

import torch

from ..blocks.dispatching import dispatching, in_block
from ..costs.programs import users_line
from ..devices.base import Value
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor
from ..meta import Meta
from ..modes import Watching
from ..pytorch_private import DisableTorchFunction, tree_leaves
from .dry import NO_VALUE


class ValuesNeeded(SystemExit):
    """Ends a program whose next step depends on a value that is not computed, as `sys.exit` would."""

    def __init__(self, what: str):
        super().__init__(what)
        self.what, self.where = what, users_line()


class Unknown:
    """The storages whose content is not known; what only the device holds is unknown if it has no value."""

    def __init__(self) -> None:
        self._storages: dict[int, weakref.ref] = {}

    def add(self, tensor: torch.Tensor) -> None:
        """Mark the values of this tensor, and of its whole storage, as unknown."""
        storage = _storage(tensor)
        if storage is not None:
            key = storage._cdata
            self._storages[key] = weakref.ref(storage, lambda _: self._storages.pop(key, None))

    def __contains__(self, tensor: Any) -> bool:
        if not isinstance(tensor, torch.Tensor):
            return False
        if isinstance(tensor, DeviceTensor) and isinstance(tensor._cell, WatchedCell) and tensor._cell.unknown:
            return True
        storage = _storage(tensor)
        return storage is not None and storage._cdata in self._storages

    def any_of(self, *values: Any) -> bool:
        """Whether one of the tensors in the values is unknown."""
        return any(leaf in self for leaf in tree_leaves(values))


class Stops(Protocol):
    """The session's part in handling unknown tensors."""

    unknown: Unknown

    def stop(self, what: str) -> NoReturn:
        """End the program, saying what needs a value."""
        ...


class WatchedCell(Cell):
    """A cell that knows whether its content is unknown, and marks its host memory accordingly."""

    __slots__ = ()

    @property
    def unknown(self) -> bool:
        """Whether part of the device's content has no value, while the host has no copy."""
        whole = self.values.get(self.whole) if self.before is None else self.before
        return self.storage is None and any(v is NO_VALUE for v in (whole, *(self.values[p] for p in self.parts)))

    def host_view(self, meta: Meta) -> torch.Tensor:
        """A plain CPU tensor, which is unknown if its source is."""
        unknown = self.unknown
        plain = super().host_view(meta)
        if unknown:
            self._note(plain)
        return plain

    def device_write_part(self, meta: Meta, value: Value) -> None:
        """Replace a part, which makes all of the memory unknown if the part is."""
        super().device_write_part(meta, value)
        if self.storage is not None and value is NO_VALUE:
            self._note(meta.on_storage(self.storage))

    def _note(self, plain: torch.Tensor) -> None:
        home: Any = self.home
        home.unknown.add(plain)


class Reads(Watching):
    """Ends the program where it reads an unknown value in a way that shows in no aten call."""

    def __init__(self, session: Stops):
        super().__init__()
        self._session = session

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WATCHED and self._reads(func) and args and args[0] in self._session.unknown:
            self._session.stop(f"the program {_WATCHED[func]}")
        result = func(*args, **(kwargs or {}))
        if func == torch.Tensor.__deepcopy__ and args[0] in self._session.unknown:
            self._session.unknown.add(result)
        return result

    def _reads(self, func: Any) -> bool:
        if func in _NUMBERS:
            return not in_block()  # else it arrives as an aten call, which is counted
        return func not in _MEMORY or not dispatching()  # dispatch itself looks at shared memory


_NUMBERS = dict.fromkeys(
    (
        torch.Tensor.__bool__,
        torch.Tensor.__complex__,
        torch.Tensor.__float__,
        torch.Tensor.__index__,
        torch.Tensor.__int__,
        torch.Tensor.item,
    ),
    "reads a number from a tensor",
)
_MEMORY = dict.fromkeys(
    (torch.Tensor.__dlpack__, torch.Tensor.data_ptr, torch.Tensor.untyped_storage), "takes or saves a tensor's memory"
)
_WATCHED = {
    **_NUMBERS,
    **_MEMORY,
    torch.Tensor.tolist: "turns a tensor into a list",
    torch.Tensor.numpy: "turns a tensor into an array",
    torch.Tensor.__array__: "turns a tensor into an array",
    torch.Tensor.__repr__: "prints a tensor",
}


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    if isinstance(tensor, DeviceTensor):
        return tensor._cell.storage
    if tensor.layout is not torch.strided or tensor.is_meta:
        return None
    with DisableTorchFunction():
        return tensor.untyped_storage()
