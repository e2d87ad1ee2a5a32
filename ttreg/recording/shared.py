"""Leaves out the steps of a recording that would only make again what is there.

Programs compute the same more than once, such as the positions and masks of each layer. A replay computes it once, and
what is the same at each call not at all. That holds for ttnn calls too: none of those that lowerings make writes to a
value, or gives another one for the same arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ..modes import without_modes
from .snapshot import ATOMS
from .words import Event, Plain, Ref

_MOST_KEPT = 1 << 16  # bytes of a storage that is kept instead of being made anew

_NUMBERS = frozenset((float, complex))  # whose zeros differ although they are equal
_ATOMS = frozenset((*ATOMS, torch.layout, torch.memory_format))


def without_repeats(
    events: Iterable[Event], at_the_end: Iterable[Ref], fixed: Mapping[Ref, torch.UntypedStorage]
) -> list[Event]:
    """The events without those that make what an earlier one makes.

    The registers in `at_the_end` each get a result of their own; `fixed` has the storages of the host that are the same
    at each call, some of which the events then have as they are.
    """
    events = list(events)
    apart = {ref for event in events for ref in event.writes}.union(at_the_end)
    words = _Words()
    made: dict[Hashable, Event] = {}
    found = []
    for event in events:
        event = words.renamed(event)
        key = words.key(event)
        if key is not None and apart.isdisjoint(ref for _, ref in event.results):
            earlier = made.setdefault(key, event)
            if earlier is not event and _paths(earlier) == _paths(event):
                of_earlier = (ref for _, ref in earlier.results)
                words.instead.update(zip((ref for _, ref in event.results), of_earlier, strict=True))
                continue
        found.append(event)
        words.writes.update(event.writes)
    words.kept = {ref: storage for ref, storage in fixed.items() if ref not in apart and storage.nbytes() <= _MOST_KEPT}
    return [words.renamed(event) for event in found] if words.kept else found


class _Words:
    """The arguments of events: under what an equal call is found, and with other registers, or tensors, in them."""

    def __init__(self) -> None:
        self.instead: dict[Ref, Ref] = {}  # of registers whose events are left out
        self.writes: Counter[Ref] = Counter()  # of storages, until now
        self.kept: dict[Ref, torch.UntypedStorage] = {}
        self._tensors: dict[Any, torch.Tensor] = {}  # over copies of those

    def key(self, event: Event) -> Hashable | None:
        """What is equal for events that make the same; None for those of which that is not known."""
        function = event.function if event.on_device else event.same
        if function is None or not event.pure or event.is_read:
            return None
        return function, self._key(event.args), self._key(event.kwargs)

    def _key(self, value: Any) -> Hashable:
        kind = type(value)
        if kind in (list, tuple):
            return kind, *map(self._key, value)
        if kind is dict:
            return kind, *((name, self._key(item)) for name, item in value.items())
        if kind is Ref:
            return value
        if kind is Plain:
            return value, self.writes[value.storage]
        if kind in _ATOMS:
            return kind, repr(value) if kind in _NUMBERS else value
        return id(value)

    def renamed(self, event: Event) -> Event:
        """The event with what takes the place of its arguments."""
        if not self.instead and not self.kept:
            return event
        args, kwargs = self._renamed(event.args), self._renamed(event.kwargs)
        return event if args is event.args and kwargs is event.kwargs else replace(event, args=args, kwargs=kwargs)

    def _renamed(self, value: Any) -> Any:
        kind = type(value)
        if kind is Ref:
            return self.instead.get(value, value)
        if kind is Plain:
            if value.storage in self.kept:
                return self._tensor(value)
            ref = self.instead.get(value.storage)
            return value if ref is None else replace(value, storage=ref)
        if kind in (list, tuple):
            items = list(map(self._renamed, value))
            return value if all(a is b for a, b in zip(items, value, strict=True)) else kind(items)
        if kind is dict:
            named = {name: self._renamed(item) for name, item in value.items()}
            return value if all(named[name] is value[name] for name in named) else named
        return value

    def _tensor(self, plain: Plain) -> torch.Tensor:
        key = plain.storage, plain.meta
        if key not in self._tensors:
            if plain.storage not in self._tensors:  # the program may still write to the recorded one
                self._tensors[plain.storage] = plain.meta.on_storage(self.kept[plain.storage].clone())
            storage = self._tensors[plain.storage].untyped_storage()
            with without_modes():
                self._tensors[key] = plain.meta.on_storage(storage)
        return self._tensors[key]


def _paths(event: Event) -> list[str]:
    return [path for path, _ in event.results]
