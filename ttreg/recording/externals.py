"""The tensors that are there before a recorded call: arguments, and what the function reaches otherwise."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from .words import External


class Externals:
    """External tensors by the cell or the storage that holds them. `changes` are ids of tensors known to change."""

    def __init__(
        self, arguments: Iterable[torch.Tensor], reached: Iterable[tuple[str, torch.Tensor]], changes: set[int]
    ):
        self.changes = changes
        self._cells: dict[int, tuple[Cell, External]] = {}
        self._storages: dict[int, tuple[torch.UntypedStorage, External]] = {}
        self.all: list[External] = []
        for number, tensor in enumerate(arguments):
            self._add(External(tensor, number, f"argument {number}"))
        for name, tensor in reached:
            self._add(External(tensor, None, name))
        for owner in list(self.all):
            if owner.tensor.requires_grad and owner.tensor.is_leaf and owner.tensor.grad is not None:
                self._add(External(owner.tensor.grad, None, f"the gradient of {owner.name}", owner))

    def _add(self, external: External) -> None:
        tensor = external.tensor
        self.all.append(external)
        if isinstance(tensor, DeviceTensor):
            cell = tensor._cell
            self._cells.setdefault(id(cell), (cell, external))
            if cell.storage is not None and not cell.values:
                self._storages.setdefault(cell.storage._cdata, (cell.storage, external))
        else:
            storage = storage_of(tensor)
            self._storages.setdefault(storage._cdata, (storage, external))

    def forget_arguments(self) -> None:
        """Let go of the tensors of one call: a recording takes those of each call from its arguments."""
        for external in self.all:
            if external.argument is not None or external.owner is not None:
                external.tensor = None
        self._cells.clear()
        self._storages.clear()

    def of_cell(self, cell: Cell) -> External | None:
        """The external tensor over a cell."""
        found = self._cells.get(id(cell))
        return found[1] if found is not None else None

    def of_storage(self, storage: torch.UntypedStorage) -> External | None:
        """The external tensor over a storage of the host."""
        found = self._storages.get(storage._cdata)
        return found[1] if found is not None else None

    def may_be_constant(self, external: External) -> bool:
        """Whether a recording may keep the tensor's upload, as long as its version stands still."""
        return (
            external.argument is None
            and external.owner is None
            and not external.written
            and id(external.tensor) not in self.changes
        )
