"""A recording of one signature: what it depends on, and its paths, one for each row of values that the program saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from ..modes import without_modes
from ..pytorch_private import below_autograd
from .arguments import Arguments
from .program import Program
from .reach import Reach
from .results import Results
from .weights import Weights
from .words import External, Miss


@dataclass(eq=False)
class Path:
    """The code for one row of values that the program sees, and what it leaves behind."""

    program: Program
    results: Results
    draws: bool
    replays: int = 0
    checked: bool = False

    @property
    def outcomes(self) -> tuple[Any, ...]:
        """What the program saw, in order."""
        return tuple(segment.outcome for segment in self.program.segments if not segment.is_last)


class Variant:
    """The paths of one signature, and the guards that hold for all of them."""

    def __init__(self, reach: Reach, externals: list[External], path: Path):
        self.reach = reach
        self.paths = [path]
        self._constant = [external for external in externals if external.constant]
        self.weights = Weights(self._constant)
        reached = [tensor for _, tensor in reach.tensors]
        self._device = [(tensor, tensor._cell, tensor._meta) for tensor in reached if isinstance(tensor, DeviceTensor)]
        self._device_cells = {id(cell) for _, cell, _ in self._device}
        self._plain = [(tensor, storage_of(tensor)) for tensor in reached if not isinstance(tensor, DeviceTensor)]
        self._memories = {storage._cdata for _, storage in self._plain} | self._device_cells

    def add(self, path: Path, externals: list[External]) -> None:
        """Add a path for other values."""
        self.paths.append(path)
        self._constant += [external for external in externals if external.constant]
        self.weights = Weights(self._constant)

    def shares_memory(self, arguments: Arguments) -> bool:
        """Whether an argument shares memory with a tensor that the function reaches otherwise."""
        return not self._memories.isdisjoint(arguments.memories())

    def changed(self, arguments: Arguments) -> str:
        """What is not as it was at the recording; empty if the recording holds."""
        what = self.reach.changed()
        if what:
            return what
        what, _ = self.weights.changed()
        if what:
            return f"the weight {what}"
        for tensor, cell, meta in self._device:
            if tensor._cell is not cell or tensor._meta is not meta:
                return "the data of a tensor"
        for plain, storage in self._plain:
            if storage_of(plain) is not storage:
                return "the memory of a tensor"
        return "an argument that shares memory with another tensor" if self.shares_memory(arguments) else ""

    def run(self, session: Any, tensors: list[Any]) -> tuple[Path, list[Any]]:
        """The path that the values take, and the registers at its end. Nothing is written yet.

        Raises Miss if a value is new, or if the device refuses a call.
        """
        tried: set[int] = set()
        path = self.paths[0]
        while True:
            tried.add(id(path))
            seen, registers = self._run(path, session, tensors)
            if registers is not None:
                return path, registers
            others = [other for other in self.paths if id(other) not in tried and other.outcomes[: len(seen)] == seen]
            if not others:
                where = path.program.segments[len(seen) - 1].where
                raise Miss(f"the program saw a new value (at {where})")
            path = others[0]

    def _run(self, path: Path, session: Any, tensors: list[Any]) -> tuple[tuple[Any, ...], list[Any] | None]:
        state = torch.get_rng_state() if path.draws else None
        registers: list[Any] = [None] * path.program.registers
        seen: tuple[Any, ...] = ()
        done = False
        try:
            with session.device.lock, without_modes(), below_autograd():
                for segment in path.program.segments:
                    found = segment.run(registers, tensors)
                    if segment.is_last:
                        done = True
                        return seen, registers
                    seen += (found,)
                    if found != segment.outcome:
                        return seen, None
        finally:
            if state is not None and not done:
                torch.set_rng_state(state)
        return seen, None
