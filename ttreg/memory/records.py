"""What a session knows of the values that it keeps: those of uploads, and those that were derived from them."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..devices.base import Value
from .fingerprint import Fingerprint

# A program may compute with constants for ever: so many steps after the last of them, results are kept no more.
MOST_STEPS = 16


@dataclass(eq=False)
class Derived:
    """A value that was derived from another one, and the values derived from it in turn."""

    value: Any
    beside: tuple = ()  # kept alive, since their ids are part of the key
    rest: int = 0  # how many more steps may be derived from it, if weights and constants alone give it
    prepared: OrderedDict[Hashable, Derived] = field(default_factory=OrderedDict)
    source: tuple[weakref.ref[Any], Hashable] | None = None  # what it was derived from, and its key there

    @property
    def fixed(self) -> bool:
        """Whether weights and the program's constants alone give it, in not too many steps."""
        return self.rest > 0


def forget(derived: Derived | None) -> None:
    """Keep a derived value no longer."""
    if derived is not None and derived.source is not None:
        source, key = derived.source
        record = source()
        if record is not None:
            record.prepared.pop(key, None)


@dataclass(eq=False)
class Upload:
    """A value that was uploaded, and what tells whether the tensor has changed since."""

    value: Value
    version: int | None  # for a trusted tensor: its version counter
    fingerprint: Fingerprint | None  # for any other parameter: a hash of the content
    snapshot: torch.Tensor | None  # for all other tensors: a copy of the content
    call: int = 0  # the compiled model's call that last found the content unchanged
    prepared: OrderedDict[Hashable, Derived] = field(default_factory=OrderedDict)

    @property
    def rest(self) -> int:
        """How many steps may be derived from it."""
        return MOST_STEPS if self.fixed else 0

    @property
    def fixed(self) -> bool:
        """Whether it is a weight."""
        return self.snapshot is None
