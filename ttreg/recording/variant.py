"""A recording of one signature: what it depends on, and its paths, one for each row of values that the program saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..pytorch_private import below_autograd
from .arguments import Arguments
from .capture import Capture
from .program import Program
from .reach import Reach
from .results import Results
from .state import State
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
    capture: Capture | None = None  # if it may be a trace of the device

    @property
    def outcomes(self) -> tuple[Any, ...]:
        """What the program saw, in order."""
        return tuple(segment.outcome for segment in self.program.segments if not segment.is_last)


class Variant:
    """The paths of one signature, and the guards that hold for all of them."""

    def __init__(self, reach: Reach, state: State, externals: list[External], path: Path):
        self.reach, self.state = reach, state
        self.paths = [path]
        self._constant = [external for external in externals if external.constant]
        self.weights = Weights(self._constant)
        self.used = 0  # at which call of the function, at last

    def copies(self) -> list[torch.Tensor]:
        """The copies with which buffers are compared at each call."""
        return [external.content for external in self._constant if external.content is not None]

    def add(self, path: Path, externals: list[External], reach: Reach) -> None:
        """Add a path for other values."""
        self.reach.hold_with(reach)
        self.paths.append(path)
        self._constant += [external for external in externals if external.constant]
        self.weights = Weights(self._constant)

    def changed(self, arguments: Arguments) -> str:
        """What is not as it was at the recording; empty if the recording holds."""
        what = self.reach.changed()
        if what:
            return what
        for name, _ in self.weights.changed():
            return f"the content of {name}"
        return self.state.changed(arguments)

    def run(self, session: Any, tensors: list[Any]) -> tuple[Path, list[Any]]:
        """The path that the values take, and the registers at its end. Nothing is written yet. There has to be no mode.

        Raises Miss if a value is new, or if the device refuses a call.
        """
        left, miss = list(self.paths), Miss("no path is left")
        while left:
            path = left.pop(0)
            try:
                seen, registers = self._run(path, session, tensors)
            except Miss as found:
                miss = found
                continue
            if registers is not None:
                if path is not self.paths[0]:  # the next call is likely to be as this one
                    self.paths.remove(path)
                    self.paths.insert(0, path)
                return path, registers
            miss = Miss(f"the program saw a new value (at {path.program.segments[len(seen) - 1].where})")
            left = [other for other in left if other.outcomes[: len(seen)] == seen]
        raise miss

    def _run(self, path: Path, session: Any, tensors: list[Any]) -> tuple[tuple[Any, ...], list[Any] | None]:
        state = torch.get_rng_state() if path.draws else None
        registers: list[Any] = [None] * path.program.registers
        seen: tuple[Any, ...] = ()
        done = False
        try:
            with session.device.lock, below_autograd():
                if path.capture is not None and path.checked and path.capture.run(session, registers, tensors):
                    return seen, registers
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
