"""Python objects as they were: what each holds is compared by identity, all objects of a kind in one row of C calls.

Two objects that are not the same one may still be equal numbers or texts. So where the quick look finds a difference,
each holder is looked at by itself, and what only became another object of the same value is the one to compare with
from then on. Of a dict, the quick look is at a number that Python changes at each write.
"""

from __future__ import annotations

import dis
import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from operator import attrgetter, is_
from typing import Any

import torch

from ..pytorch_private import dict_version

ATOMS = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, torch.Size)
_MISSING = object()
_GONE = (ValueError, AttributeError, RuntimeError)  # a cell is empty by now, a name is gone, another thread adds some

Parts = Callable[[Any], Iterable[Any]]


class Kind:
    """All holders of one kind, with what each held.

    `flat` gives the parts of all in one row, and `length` how many one has, unless all have one. Without `flat`, each
    holder is asked by itself.
    """

    def __init__(
        self, parts: Parts, flat: Callable[[list[Any]], Iterable[Any]] | None = None, length: Any = None, what: str = ""
    ):
        self._parts, self._flat, self._length, self._what = parts, flat, length, what
        self._holders: list[Any] = []
        self._names: list[tuple[str, list[str]]] = []
        self._saved: list[list[Any]] = []
        self._all: list[Any] = []
        self._lengths: list[int] = []

    def add(self, name: str, holder: Any, names: list[str]) -> list[Any]:
        """Look at a holder from now on; `names` are those of its parts. Gives its parts."""
        saved = list(self._parts(holder))
        self._holders.append(holder)
        self._names.append((name, names))
        self._saved.append(saved)
        self._all += saved
        self._lengths.append(len(saved))
        return saved

    def changed(self) -> str:
        """What is no longer as it was; empty if nothing has changed."""
        holders = self._holders
        if not holders:
            return ""
        try:
            if self._flat is None:
                found = [list(self._parts(holder)) for holder in holders]
                lengths = list(map(len, found))
                parts: Iterable[Any] = chain.from_iterable(found)
            else:
                lengths = self._lengths if self._length is None else list(map(self._length, holders))
                parts = self._flat(holders)
            if lengths == self._lengths and all(map(is_, parts, self._all)):
                return ""
        except _GONE:
            pass
        return self._difference()

    def _difference(self) -> str:
        for place, (holder, saved) in enumerate(zip(self._holders, self._saved, strict=True)):
            name, names = self._names[place]
            try:
                now = list(self._parts(holder))
            except _GONE:
                return name
            if len(now) != len(saved):
                return f"the number of elements of {name}"
            number = _first_difference(now, saved)
            if number is not None:
                return self._what.format(name) if self._what else names[number] if number < len(names) else name
            self._saved[place] = now
        self._all = list(chain.from_iterable(self._saved))
        return ""


class Dicts:
    """Dicts, with the keys and values of each. Only those are looked at that were written to since."""

    def __init__(self) -> None:
        self._holders: list[Any] = []
        self._names: list[tuple[str, list[str]]] = []
        self._saved: list[tuple[list[Any], list[Any]]] = []
        self._versions: list[int] = []

    def add(self, name: str, holder: dict[Any, Any], names: list[str]) -> list[Any]:
        """Look at a dict from now on; `names` are those of its values. Gives its values."""
        self._versions.append(dict_version(holder))  # before its content: another thread may write to it meanwhile
        values = list(dict.values(holder))
        self._holders.append(holder)
        self._names.append((name, names))
        self._saved.append((list(dict.keys(holder)), values))
        return values

    def changed(self) -> str:
        """What is no longer as it was; empty if nothing has changed."""
        versions = list(map(dict_version, self._holders))
        if versions == self._versions:
            return ""
        for place, version in enumerate(versions):
            if version != self._versions[place]:
                what = self._difference(place)
                if what:
                    return what
                self._versions[place] = version
        return ""

    def _difference(self, place: int) -> str:
        holder, (name, names), (keys, values) = self._holders[place], self._names[place], self._saved[place]
        try:
            now = list(dict.keys(holder)), list(dict.values(holder))
        except _GONE:
            return name
        if len(now[0]) != len(keys) or len(now[1]) != len(values):
            return f"the number of elements of {name}"
        number = _first_difference(now[1], values)
        if number is not None:
            return names[number] if number < len(names) else name
        if _first_difference(now[0], keys) is not None:
            return f"the keys of {name}"
        self._saved[place] = now
        return ""


def _first_difference(now: list[Any], saved: list[Any]) -> int | None:
    """The place of the first object that is not the same to a program."""
    for number, (one, before) in enumerate(zip(now, saved, strict=True)):
        if one is not before and not equal(one, before):
            return number
    return None


def _of_attribute(name: str) -> Kind:
    get = attrgetter(name)
    return Kind(lambda holder: (get(holder),), lambda holders: map(get, holders))


class Snapshot:
    """What a recording depends on, of Python objects."""

    def __init__(self) -> None:
        self.values = Dicts()
        self.items = Kind(iter, chain.from_iterable, len)
        self.types = Kind(lambda holder: (type(holder),), lambda holders: map(type, holders), what="the class of {}")
        self.dicts, self.cells = _of_attribute("__dict__"), _of_attribute("cell_contents")
        self.codes, self.defaults, self.named = map(_of_attribute, ("__code__", "__defaults__", "__kwdefaults__"))
        self.others = Kind(lambda look: look())
        self._kinds: list[Kind | Dicts] = [
            *(self.values, self.items, self.types, self.dicts, self.cells),
            *(self.codes, self.defaults, self.named, self.others),
        ]
        self._empty: list[tuple[str, Any]] = []
        self._holders: list[Any] = []
        self._contents: list[tuple[str, Callable[[], Any], Any]] = []

    def changed(self) -> str:
        """What is no longer as it was; empty if nothing has changed."""
        if any(self._holders):
            return next(f"{name}, which was empty" for name, holder in self._empty if holder)
        for kind in self._kinds:
            what = kind.changed()
            if what:
                return what
        for name, content, saved in self._contents:
            if content() != saved:
                return name
        return ""

    def of_dict(self, name: str, holder: Any, names: list[str]) -> list[Any]:
        """Look at the keys and values of a dict."""
        if not holder:
            return self.empty(name, holder)
        if isinstance(holder, OrderedDict) or not isinstance(holder, dict):  # a class has a proxy of one
            self.others.add(name, lambda: [*holder, *holder.values()], [f"the keys of {name}"] * len(holder) + names)
            return list(holder.values())
        return self.values.add(name, holder, names)

    def of_items(self, name: str, holder: Any, names: list[str]) -> list[Any]:
        """Look at the items of a list, a set, or a deque."""
        return self.items.add(name, holder, names) if holder else self.empty(name, holder)

    def empty(self, name: str, holder: Any) -> list[Any]:
        """Look at what holds nothing, such as the hooks of a module."""
        self._empty.append((name, holder))
        self._holders.append(holder)
        return []

    def of_names(self, name: str, space: dict[str, Any], names: list[str]) -> None:
        """Look at some names of a module, also those that it does not have."""
        self.others.add(name, lambda: map(space.get, names, repeat(_MISSING)), [f"{name}.{n}" for n in names])

    def content(self, name: str, content: Callable[[], Any]) -> None:
        """Look at what a function gives, by value."""
        self._contents.append((name, content, content()))


def equal(one: Any, before: Any) -> bool:
    """Whether two objects are the same to a program, as equal numbers are."""
    kind = type(one)
    if kind is not type(before):
        return False
    if kind is tuple:
        return len(one) == len(before) and all(a is b or equal(a, b) for a, b in zip(one, before, strict=True))
    if kind is types.MethodType:  # a new object at each look
        return one.__func__ is before.__func__ and one.__self__ is before.__self__
    if kind not in ATOMS:
        return False
    return repr(one) == repr(before) if kind in (float, complex) else bool(one == before)


@functools.lru_cache(maxsize=1 << 12)
def names_of(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The globals that code looks up, the modules that it imports, and all its names and texts; inner functions too."""
    found: tuple[list[str], list[str], list[str]] = [], [], []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            found[0].append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            found[1].append(instruction.argval)
    found[2].extend(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, str):
            found[2].append(constant)
        if isinstance(constant, types.CodeType):
            for mine, inner in zip(found, names_of(constant), strict=True):
                mine.extend(inner)
    return tuple(tuple(dict.fromkeys(names)) for names in found)  # type: ignore[return-value]
