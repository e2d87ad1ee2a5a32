"""The reference's content of the program's tensors, kept only where it differs from the program's."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..memory.cell import Cell
from ..memory.fingerprint import Fingerprint, fingerprint, same
from ..memory.tensor import DeviceTensor, metadata_of
from ..memory.watch import storage_of
from ..meta import Meta, is_plain
from ..pytorch_private import neg_view

if TYPE_CHECKING:
    from ..runtime.session import Session


@dataclass
class Shadow:
    """One storage of the reference: as many elements as the program's storage, in a dtype that may be wider."""

    dtype: torch.dtype  # the program's
    elements: torch.Tensor  # as one vector
    passed: bool = False  # whether the error of the last write is above the budget
    mark: Fingerprint | None = None  # of the program's memory if the host holds it, since NumPy may write there


class Shadows:
    """The shadows of one session's tensors, by storage. `wide` gives the reference's dtype for a dtype of the program.

    A storage without a shadow is equal on both sides: weights, inputs, and values that were computed exactly from them.
    """

    def __init__(self, session: Session, wide: Callable[[torch.dtype], torch.dtype]):
        self._session, self._wide = session, wide
        self._of_cells: weakref.WeakKeyDictionary[Cell, Shadow] = weakref.WeakKeyDictionary()
        self._of_storages: dict[int, tuple[weakref.ref, Shadow]] = {}

    def find(self, tensor: torch.Tensor) -> Shadow | None:
        """The shadow of the tensor's storage, unless the program has written there since without an op."""
        shadow = self._found(tensor)
        if shadow is None:
            return None
        written = shadow.mark is not None and not same(shadow.mark, fingerprint(_memory(tensor)))
        if written or metadata_of(tensor).end > shadow.elements.numel() * shadow.dtype.itemsize:
            self.drop(tensor)  # it may also have been resized
            return None
        return shadow

    def values(self, tensor: torch.Tensor) -> torch.Tensor:
        """The reference's values of a tensor, in the reference's dtype. Callers only read them."""
        shadow = self.find(tensor)
        if shadow is None:
            return self._session.peek(tensor).detach().to(self._wide(tensor.dtype))
        return _like(_seen(self._typed(shadow, tensor.dtype), metadata_of(tensor)), tensor)

    def writable(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of the shadow itself, for the reference's op to write to. Makes the shadow if there is none."""
        shadow = self.find(tensor)
        if shadow is None:
            elements = self._elements(tensor)
            shadow = Shadow(tensor.dtype, elements.to(self._wide(tensor.dtype), copy=True))
            self._keep(tensor, shadow)
        elif shadow.dtype is not tensor.dtype:
            shadow.elements, shadow.dtype = self._typed(shadow, tensor.dtype).elements, tensor.dtype
        shadow.mark = None  # the program is about to write as well
        return _like(_seen(shadow, metadata_of(tensor)), tensor)

    def narrow(self, tensor: torch.Tensor, meta: Meta) -> torch.Tensor:
        """A copy of the reference's values of the tensor's storage, in the program's dtype and with metadata `meta`."""
        shadow = self.find(tensor)
        if shadow is None:
            elements = self._elements(tensor).clone()
        else:
            elements = self._typed(shadow, tensor.dtype).elements.to(tensor.dtype, copy=True)
        return meta.like(tensor.dtype).on_storage(elements.untyped_storage())

    def put(self, tensor: torch.Tensor, reference: torch.Tensor, passed: bool) -> None:
        """Keep the reference's values of a new tensor of the program."""
        meta = metadata_of(tensor)
        nbytes = tensor._cell.nbytes if isinstance(tensor, DeviceTensor) else storage_of(tensor).nbytes()
        if meta.covers(nbytes):
            elements = torch.empty(meta.numel, dtype=self._wide(meta.dtype))
            self._keep(tensor, Shadow(meta.dtype, elements))
        self.writable(tensor).copy_(reference)
        shadow = self._found(tensor)
        assert shadow is not None
        shadow.passed = passed
        self.mark(tensor)

    def mark(self, tensor: torch.Tensor) -> None:
        """Remember what the program's memory holds if it is on the host, as someone may write there without an op."""
        shadow = self._found(tensor)
        if shadow is not None and (not isinstance(tensor, DeviceTensor) or tensor._cell.storage is not None):
            shadow.mark = fingerprint(_memory(tensor))

    def drop(self, tensor: torch.Tensor) -> None:
        """Make the reference equal to the program in the tensor's storage."""
        if isinstance(tensor, DeviceTensor):
            self._of_cells.pop(tensor._cell, None)
            if tensor._cell.storage is not None:
                self._of_storages.pop(tensor._cell.storage._cdata, None)
        elif (cell := self._cell_over(tensor)) is not None:
            self._of_cells.pop(cell, None)
        else:
            self._of_storages.pop(storage_of(tensor)._cdata, None)

    def _found(self, tensor: torch.Tensor) -> Shadow | None:
        if isinstance(tensor, DeviceTensor):
            found = self._of_cells.get(tensor._cell)
            storage = tensor._cell.storage
            if found is not None or storage is None:
                return found
        else:
            if not followed(tensor):
                return None
            storage = storage_of(tensor)
        kept = self._of_storages.get(storage._cdata)
        if kept is not None:
            return kept[1]
        cell = None if isinstance(tensor, DeviceTensor) else self._cell_over(tensor)
        return None if cell is None else self._of_cells.get(cell)

    def _cell_over(self, plain: torch.Tensor) -> Cell | None:
        """The cell that a plain tensor shares memory with, if the program got it from a device tensor."""
        key = storage_of(plain)._cdata
        cells = (cell for cell in list(self._of_cells) if cell.storage is not None and cell.storage._cdata == key)
        return next(cells, None)

    def _keep(self, tensor: torch.Tensor, shadow: Shadow) -> None:
        self.drop(tensor)
        if isinstance(tensor, DeviceTensor) and tensor._cell.storage is None:
            self._of_cells[tensor._cell] = shadow
            return
        storage = tensor._cell.storage if isinstance(tensor, DeviceTensor) else storage_of(tensor)
        assert storage is not None
        key = storage._cdata
        self._of_storages[key] = weakref.ref(storage, lambda _: self._of_storages.pop(key, None)), shadow

    def _elements(self, tensor: torch.Tensor) -> torch.Tensor:
        """All elements of the tensor's storage on the program's side, as one vector."""
        if not isinstance(tensor, DeviceTensor):
            return _in_a_row(storage_of(tensor), tensor.dtype)
        return _in_a_row(tensor._cell.peek(tensor._cell.root).untyped_storage(), tensor.dtype)

    def _typed(self, shadow: Shadow, dtype: torch.dtype) -> Shadow:
        """The shadow of a storage that the program views with another dtype."""
        if shadow.dtype is dtype:
            return shadow
        if shadow.dtype.to_real() is dtype.to_real() and shadow.elements.dtype.to_real() is self._wide(dtype).to_real():
            return Shadow(dtype, _in_a_row(shadow.elements.untyped_storage(), self._wide(dtype)))
        narrow = shadow.elements.to(shadow.dtype).untyped_storage()
        return Shadow(dtype, _in_a_row(narrow, dtype).to(self._wide(dtype)))


def followed(tensor: torch.Tensor) -> bool:
    """Whether the tensor's memory can have a shadow: it is a session's tensor, or an ordinary host tensor."""
    if isinstance(tensor, DeviceTensor) or is_plain(tensor):
        return True
    ordinary = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.is_cpu and tensor.layout is torch.strided
    return ordinary and (tensor.is_conj() or tensor.is_neg())


def _like(seen: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """The same memory with the tensor's lazy conjugation and negation."""
    seen = seen.conj() if tensor.is_conj() else seen
    return neg_view(seen) if tensor.is_neg() else seen


def _seen(shadow: Shadow, meta: Meta) -> torch.Tensor:
    return meta.like(shadow.elements.dtype).on_storage(shadow.elements.untyped_storage())


def _in_a_row(storage: torch.UntypedStorage, dtype: torch.dtype) -> torch.Tensor:
    count = storage.nbytes() // dtype.itemsize
    return torch.empty(0, dtype=dtype).set_(storage, 0, (count,), (1,))


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of the host storage behind the tensor."""
    storage = tensor._cell.storage if isinstance(tensor, DeviceTensor) else storage_of(tensor)
    return _in_a_row(storage, torch.uint8) if storage is not None else torch.empty(0, dtype=torch.uint8)
