"""What a function reaches besides its arguments: tensors, modules, numbers. A recording holds as long as they do.

Followed are closures, defaults, the globals that the code names, `self`, modules, lists, dicts, and attributes of
objects. The code of installed packages counts as fixed: their functions and classes are not followed, their objects
are. What a function finds otherwise, such as a file or the clock, no guard sees.
"""

from __future__ import annotations

import collections
import functools
import site
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from operator import is_
from typing import Any

import numpy as np
import torch

_DEEPEST = 100
_MOST_OBJECTS = 200_000
_MOST_BYTES = 1 << 16  # of an array that is compared at each call
_ATOMS = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, torch.Size)
_FOREIGN = ("torch", "ttreg", "numpy", "ttnn", "builtins", *sys.stdlib_module_names)
_INSTALLED = (*site.getsitepackages(), site.getusersitepackages())
_FOLLOWED = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
_TUPLES: dict[int, object] = {}  # what stands for a tuple of so many numbers
_LISTS = (list, tuple, set, frozenset, collections.deque)


class Reach:
    """The tensors that a function reaches, and all that leads to them, as it is now."""

    def __init__(self, roots: Iterable[tuple[str, Any]]):
        self.tensors: list[tuple[str, torch.Tensor]] = []
        self.unguarded = ""  # what no guard can check
        self._filled: list[tuple[str, Callable[[], Collection[Any]], list[Any]]] = []
        self._empty: list[Any] = []
        self._arrays: list[tuple[str, np.ndarray, bytes]] = []
        self.optimizers: list[torch.optim.Optimizer] = []  # whose code is PyTorch's
        self._groups: dict[int, tuple[str, dict[str, Any], dict[str, Any]]] = {}  # of these: their numbers
        self._seen: dict[int, Any] = {}
        for name, root in roots:
            self._follow(name, root, 0)

    def holds(self, group: dict[str, Any]) -> bool:
        """Whether the numbers of an optimizer's group are looked at by themselves, and nothing else leads to them."""
        ways = sum(value is group for _, _, saved in self._filled for value in saved)
        return id(group) in self._groups and ways == 1

    def let_go(self, group: dict[str, Any], keys: Iterable[str]) -> None:
        """Look no more at these numbers of a group: each replay takes them as they are."""
        for key in keys:
            self._groups[id(group)][2].pop(key, None)

    def hold_with(self, other: Reach) -> None:
        """Look also at the numbers of groups that another look at the same function holds."""
        for key, (name, group, saved) in other._groups.items():
            self._groups.setdefault(key, (name, group, {}))[2].update(saved)

    def changed_numbers(self) -> Iterator[tuple[str, str]]:
        """The numbers of optimizers' groups that are not as they were: names of groups, and keys."""
        for name, group, saved in self._groups.values():
            for key, value in saved.items():
                if group.get(key) is not value and repr(group.get(key)) != repr(value):
                    yield name, key

    def changed(self) -> str:
        """What is no longer as it was; empty if nothing has changed."""
        if any(self._empty):
            return "a list or dict that was empty, such as the hooks of a module"
        for name, values, saved in self._filled:
            now = values()
            if len(now) != len(saved):
                return f"the number of elements of {name}"
            if not all(map(is_, now, saved)):
                for number, (one, before) in enumerate(zip(now, saved, strict=True)):
                    if one is not before and not _equal(one, before):
                        return f"entry {number} of {name}"
        for name, key in self.changed_numbers():
            return f"{name}[{key}]"
        for name, array, saved_bytes in self._arrays:
            if array.tobytes() != saved_bytes:
                return f"the array {name}"
        return ""

    def _watch(self, name: str, holder: Any, values: Callable[[], Collection[Any]], depth: int, names: list) -> None:
        saved = list(values())
        if not saved:
            self._empty.append(holder)
            return
        self._filled.append((name, values, saved))
        for below, value in zip(names, saved, strict=False):
            self._follow(below, value, depth + 1)

    def _follow(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, _ATOMS) or id(value) in self._seen:
            return
        if depth > _DEEPEST or len(self._seen) > _MOST_OBJECTS:
            self.unguarded = self.unguarded or f"{name} is nested too deeply"
            return
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            self.tensors.append((name, value))
            if type(value) is torch.nn.Parameter:  # it may have to be carried in a block float
                self._watch(name, value.__dict__, value.__dict__.values, depth, [f"{name}.{k}" for k in value.__dict__])
            if value.requires_grad and not value.is_leaf:
                self.unguarded = self.unguarded or f"{name} has a graph, through which no replay would go backward"
        elif isinstance(value, np.ndarray):
            self._array(name, value)
        elif isinstance(value, torch.nn.Module):
            self._attributes(name, value, depth)
        elif isinstance(value, types.FunctionType):
            self._function(name, value, depth)
        elif isinstance(value, types.MethodType):
            self._follow(f"{name}.__self__", value.__self__, depth + 1)
            self._follow(name, value.__func__, depth + 1)
        elif isinstance(value, functools.partial):
            self._follow(name, (value.func, value.args, value.keywords), depth + 1)
        elif id(value) in self._groups:
            self._watch(name, value, lambda: _without_numbers(value), depth, [f"{name}[{key}]" for key in value])
        elif isinstance(value, dict):
            self._watch(name, value, value.values, depth, [f"{name}[{_short(key)}]" for key in value])
        elif isinstance(value, _LISTS):
            self._watch(name, value, lambda: list(value), depth, [f"{name}[{n}]" for n in range(len(value))])
        elif isinstance(value, type):
            self._class(name, value, depth)
        elif isinstance(value, torch.optim.Optimizer) and type(value).__module__.startswith("torch.optim."):
            self.optimizers.append(value)
            for place, group in enumerate(value.param_groups):
                if type(group) is dict and id(group) not in self._seen:
                    numbers = {key: item for key, item in group.items() if _kind_of_number(item)}
                    self._groups[id(group)] = f"{name}.param_groups[{place}]", group, numbers
            self._attributes(name, value, depth)
        elif _has_state(value):
            self._attributes(name, value, depth)

    def _array(self, name: str, array: np.ndarray) -> None:
        if array.nbytes > _MOST_BYTES or array.dtype.hasobject:
            self.unguarded = self.unguarded or f"the array {name} is too large to be compared at each call"
        else:
            self._arrays.append((name, array, array.tobytes()))

    def _attributes(self, name: str, value: Any, depth: int) -> None:
        own = getattr(value, "__dict__", None)
        if type(own) is dict:
            self._watch(name, own, own.values, depth, [_below(name, key) for key in own])
        slots = [slot for base in type(value).__mro__ for slot in _slots(base)]
        if slots:
            self._watch(name, value, lambda: [getattr(value, s, None) for s in slots], depth, slots)
        self._follow(type(value).__name__, type(value), depth + 1)

    def _class(self, name: str, kind: type, depth: int) -> None:
        for base in kind.__mro__:
            if _is_own(base):
                own = vars(base)
                self._watch(name, own, own.values, depth, [f"{name}.{key}" for key in own])

    def _function(self, name: str, function: types.FunctionType, depth: int) -> None:
        if not _is_own(function) or function.__code__.co_filename.startswith(_INSTALLED):
            return
        code, cells, space = function.__code__, function.__closure__ or (), function.__globals__
        if cells:
            self._watch(name, cells, lambda: [_content(cell) for cell in cells], depth, list(code.co_freevars))
        for given in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            if given:
                self._follow(name, given, depth + 1)
        named = [key for key in dict.fromkeys(_names(code)) if key in space]
        if named:
            self._watch(name, space, lambda: [space.get(key) for key in named], depth, named)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _has_state(value: Any) -> bool:
    """Whether attributes of this object may change: the program's own do, and those of a package, such as a cache."""
    kind = type(value)
    if isinstance(value, types.ModuleType):
        return False
    return kind.__module__.partition(".")[0] not in _FOREIGN or isinstance(value, _FOLLOWED)


def _slots(kind: type) -> list[str]:
    """The attributes in the slots of a class, under the names that Python gives to private ones."""
    found = vars(kind).get("__slots__", ())
    private = f"_{kind.__name__.lstrip('_')}"
    names = [name for name in ((found,) if isinstance(found, str) else found) if not name.endswith("__")]
    return [private + name if name.startswith("__") else name for name in names]


def _is_own(value: Any) -> bool:
    """Whether a class or function is the program's own."""
    module = value.__module__
    if module is None or module.partition(".")[0] in _FOREIGN:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not file.startswith(_INSTALLED)


def _equal(one: Any, before: Any) -> bool:
    """Whether two objects are the same to a program, as equal numbers are."""
    kind = type(one)
    if kind is not type(before) or kind not in _ATOMS:
        return False
    return repr(one) == repr(before) if kind in (float, complex) else bool(one == before)


def _kind_of_number(value: Any) -> Any:
    """The kind of an optimizer's number, or pair of numbers; None if it is something else."""
    if type(value) is float:
        return float
    if type(value) is tuple and value and all(type(item) is float for item in value):
        return _TUPLES.setdefault(len(value), object())
    return None


def _without_numbers(group: dict[str, Any]) -> list[Any]:
    return [_kind_of_number(value) or value for value in group.values()]


def _short(key: Any) -> str:
    return f"{key!r:.40}" if isinstance(key, _ATOMS) else type(key).__name__


def _below(name: str, key: str) -> str:
    return name if key in ("_parameters", "_buffers", "_modules") else f"{name}.{key}"
