"""Spare room behind the last row of a tensor that grows, so that the device's programs fit more than one length."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import RegistryError

# Rows of a tile. Room ends at the end of a tile, so that it costs no conversion.
TILE_ROWS = 32


class Room(NamedTuple):
    """A value is held in `size` rows along `dim`; the first `length` are the tensor's own, and the others are 0."""

    dim: int
    length: int
    size: int


def bucket(length: int, step: int) -> int:
    """So many rows has a value of `length` rows with its room."""
    return -(-length // step) * step


@dataclass(frozen=True)
class InRoom:
    """How an entry works on arguments that are held with spare room.

    `lowering` is a second lowering, for such arguments. After `tt` it takes `room`: the `Room` of each such argument by
    name. What it returns has the shape of the output, or more rows in one dimension, of which those behind the output's
    own are 0. It returns None, and makes no ttnn call, for what it cannot do.
    `grows`: the op appends to the first tensor of a list, whose room is made if there is none.
    `pads`: arguments that, if they are on the host, are padded there along their last dimension with this number, so
    that they are as long as those in room.
    """

    lowering: Callable[..., Any]
    grows: bool = False
    pads: Mapping[str, float] = field(default_factory=dict)

    def check(self, op: Any, taken: tuple[str, ...]) -> None:
        """Raise RegistryError unless the lowering takes the same arguments as the entry's other one."""
        if tuple(inspect.signature(self.lowering).parameters) != ("tt", "room", *taken):
            raise RegistryError(f"the lowering in room of {op} takes tt, room, {', '.join(taken)}")
