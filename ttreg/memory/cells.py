"""The storages that a session has made and the program still holds."""

from __future__ import annotations

import weakref
from collections import deque

from ..forks import new_lock
from .cell import Cell

_FEW_CELLS = 1024


class Cells:
    """Weak references to cells, cleared of dead ones whenever their number doubles. A set is slower to add to."""

    def __init__(self) -> None:
        self._references: deque[weakref.ref[Cell]] = deque()  # other threads may append during a clearing
        self._most = _FEW_CELLS
        self._lock = new_lock()

    def add(self, cell: Cell) -> None:
        """Add a new cell."""
        self._references.append(weakref.ref(cell))
        if len(self._references) > self._most:
            self._most = max(_FEW_CELLS, 2 * len(self.live()))

    def live(self) -> list[Cell]:
        """The cells that are still in use."""
        alive = []
        with self._lock:
            for _ in range(len(self._references)):
                reference = self._references.popleft()
                cell = reference()
                if cell is not None:
                    alive.append(cell)
                    self._references.append(reference)
        return alive

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._references.clear()
