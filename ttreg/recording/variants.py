"""The recordings of one function, of which the least used ones go when there are too many, or when they hold too much.

What a recording holds is what it keeps alive: constants on the device and on the host, copies that buffers are compared
with, and the tensors that the function reached. What the latest one holds too, such as the weights of a model, costs
nothing more.
"""

from __future__ import annotations

from typing import Any

import torch

from ..costs.calls import is_tensor, operand
from ..memory.held import of_cell, parts
from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from .counts import Counts
from .variant import Path, Variant

MOST_VARIANTS, MOST_BYTES = 16, 1 << 30


class Variants:
    """Recordings by signature. Those that go are counted, with the reason."""

    def __init__(self, counts: Counts):
        self._counts, self._by_key, self._calls = counts, dict[Any, Variant](), 0

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: Any) -> Variant | None:
        """The recording of a signature, for a call."""
        found = self._by_key.get(key)
        if found is not None:
            self._calls += 1
            found.used = self._calls
        return found

    def drop(self, key: Any) -> None:
        """Forget the recording of a signature."""
        self._by_key.pop(key, None)

    def add(self, key: Any, variant: Variant) -> None:
        """Keep a recording, and let others go if need be."""
        self._calls += 1
        variant.used = self._calls
        self._by_key[key] = variant
        self.make_room(variant)

    def make_room(self, latest: Variant) -> None:
        """Let go of what is too much besides the latest path of a recording."""
        own = held(latest.paths[-1:], latest)
        if len(latest.paths) > 1 and _beyond(held(latest.paths, latest), own) > MOST_BYTES:
            latest.paths = latest.paths[-1:]
            self._counts.dropped_for(f"paths held more than {MOST_BYTES >> 20} MiB besides the latest one")
        while len(self._by_key) > MOST_VARIANTS:
            self._drop_one(latest, f"there were more than {MOST_VARIANTS} recordings")
        while len(self._by_key) > 1 and self._bytes(latest) > MOST_BYTES:
            self._drop_one(latest, f"recordings held more than {MOST_BYTES >> 20} MiB besides the latest one")

    def _drop_one(self, latest: Variant, reason: str) -> None:
        others = [key for key, variant in self._by_key.items() if variant is not latest]
        del self._by_key[min(others, key=lambda key: self._by_key[key].used)]
        self._counts.dropped_for(reason)

    def _bytes(self, latest: Variant) -> int:
        found: dict[Any, int] = {}
        for variant in self._by_key.values():
            found |= held(variant.paths, variant)
        return _beyond(found, held(latest.paths, latest))


def held(paths: list[Path], variant: Variant) -> dict[Any, int]:
    """What these paths of a recording keep alive, each by its identity, with its bytes."""
    found: dict[Any, int] = {}
    for value in parts([path.program.constants for path in paths]):
        if isinstance(value, torch.Tensor):
            found |= _of(value)
        elif is_tensor(value):
            found[id(value)] = operand(value).held
    for _, tensor in variant.reach.tensors:
        found |= _of(tensor)
    for copy in variant.copies():
        found[id(copy)] = copy.nbytes
    return found


def _of(tensor: torch.Tensor) -> dict[Any, int]:
    if isinstance(tensor, DeviceTensor):
        cell = tensor._cell
        on_host = cell.storage.nbytes() if cell.storage is not None else 0
        return {id(cell): of_cell(cell) + on_host}
    storage = storage_of(tensor)
    return {("on the host", storage._cdata): storage.nbytes()}


def _beyond(found: dict[Any, int], own: dict[Any, int]) -> int:
    return sum(nbytes for key, nbytes in found.items() if key not in own)
