"""Which sizes of the program's own tensors a session has met, and how far those that vary are padded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from itertools import chain
from typing import Any

from ..apart import Labels
from ..call import Call
from ..memory.padding import TILE
from ..room import bucket

# Tensors of so many sizes are taken as they are. If there are more, programs that fit several sizes are worth it.
_AS_THEY_ARE = 2

# So many kinds of calls are watched, those that were decided last: a number that changes makes a kind of each call.
_MOST_KINDS = 1 << 12


def padded_size(size: int, in_tiles: bool, step: int) -> int:
    """So many places has a dimension of this size with its room: a power of two, and from `step` on a multiple of it.

    A tile has 32 rows and columns anyway.
    """
    if size >= step:
        return bucket(size, step)
    least = TILE if in_tiles else 1
    return max(least, 1 << (size - 1).bit_length())


class Sizes:
    """The sizes met, for each kind of call: the op, and all of its arguments but the sizes that it keeps apart."""

    def __init__(self, step: int | str):
        self._step = step if isinstance(step, int) else 0
        self._met: OrderedDict[Hashable, dict[Any, set[int]]] = OrderedDict()

    def starts(self, call: Call, labels: Labels, may_start: Mapping[str, bool]) -> dict[Any, int]:
        """To how many places the call's dimensions are padded, by label: those that have been met in many sizes.

        Only arguments that `may_start` names, which the host holds, are counted.
        """
        if not self._step or not any(may_start.values()):
            return {}
        own = labels.sizes(call)
        counted = {
            label: own[label]
            for name, tensors in labels.arguments.items()
            for label in (tensors[0] if may_start.get(name) else ())
            if label in own
        }
        key = _kind(call, labels)
        met = self._met[key] = self._met.pop(key, {})
        while len(self._met) > _MOST_KINDS:
            self._met.popitem(last=False)
        found = {}
        for label, size in counted.items():
            sizes = met.setdefault(label, set())
            if len(sizes) < _AS_THEY_ARE:
                sizes.add(size)
            elif size not in sizes and size > 1:
                in_tiles = any(label in names[-2:] for names in (*labels.outputs, *chain(*labels.arguments.values())))
                found[label] = padded_size(size, in_tiles, self._step)
        return found


def _kind(call: Call, labels: Labels) -> Hashable:
    """Equal for calls that differ in the sizes of labelled dimensions only."""
    key: list[Any] = [call.op]
    for name, value in call.arguments.items():
        tensors = [meta for _, meta in call.tensors(name)]
        if not tensors:
            key.append(repr(value))
            continue
        names = labels.arguments.get(name, ())
        for place, meta in enumerate(tensors):
            mine = names[place] if place < len(names) else (None,) * meta.ndim
            open_sizes = zip(mine, meta.shape, strict=True)
            key.append((meta.dtype, tuple(n if label is None else label for label, n in open_sizes)))
    return tuple(key)
