"""What the comparison finds while a program runs on both sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..places import Place
from .errors import Errors

READS = "the program reads a value"
_SHOWN = 6  # values of a tensor


@dataclass
class Compared:
    """A call, where it ran, and the errors of its results; None if the two sides cannot be compared."""

    op: str
    call: str
    placement: str
    place: Place
    errors: Errors | None = None
    passes: bool = False  # whether the error is above the budget while no input's error is


@dataclass
class Difference:
    """A place where the program depends on a value that differs in the reference, or that cannot be followed."""

    place: Place
    what: str
    device: str = ""
    reference: str = ""
    count: int = 1


@dataclass
class Record:
    """The calls in the order of the program, and all other findings."""

    budget: float
    calls: list[Compared] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    # Parameters in matrix products on the device that a block float may carry: by `id`, with the name of their present
    # ttnn dtype.
    weights: dict[int, tuple[torch.nn.Parameter, str]] = field(default_factory=dict)

    def is_off(self, found: Errors) -> bool:
        """Whether an error is above the budget."""
        return found.error > self.budget or found.non_finite > 0

    def differs(self, new: Difference) -> None:
        """Record a difference. One that occurs again at the same place is counted."""
        if self.differences[-1:] == [new]:  # `int(tensor)` reads the memory, and then a number from it
            return
        for before in self.differences:
            if (before.place, before.what) == (new.place, new.what):
                before.count += 1
                return
        self.differences.append(new)


def shown(value: Any) -> str:
    """A number, or the first values of a tensor."""
    if not isinstance(value, torch.Tensor):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    values = [shown(number) for number in value.flatten()[:_SHOWN].tolist()]
    return values[0] if value.numel() == 1 else f"[{', '.join(values)}{', …' if value.numel() > _SHOWN else ''}]"
