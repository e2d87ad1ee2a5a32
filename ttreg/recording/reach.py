"""What a function reaches besides its arguments: tensors, modules, numbers. A recording holds as long as they do.

Followed are closures, defaults, the globals that the code names, `self`, modules, lists, dicts, and attributes of
objects. The code of installed packages counts as fixed: their functions and classes are not followed, their objects
are. What a function finds otherwise, such as a file or the clock, no guard sees.
"""

from __future__ import annotations

import array
import collections
import contextvars
import functools
import random
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ..memory.tensor import DeviceTensor
from ..pytorch_private import HOOKS_OF_ALL
from .owners import (
    INSTALLED,
    below,
    content_of_cell,
    has_state,
    is_own,
    is_own_module,
    kind_of_number,
    short,
    slots,
    without_numbers,
)
from .snapshot import ATOMS, Snapshot, names_of

_DEEPEST = 100
_MOST_OBJECTS = 200_000
_MOST_BYTES = 1 << 16  # of an array that is compared at each call
_OF_DEVICE = ("_cell", "_meta", "_view")  # what each tensor of the device has, besides what the program gives it


class Reach:
    """The tensors that a function reaches, and all that leads to them, as it is now."""

    def __init__(self, roots: Iterable[tuple[str, Any]]):
        self.tensors: list[tuple[str, torch.Tensor]] = []
        self.unguarded = ""  # what no guard can check
        self.optimizers: list[torch.optim.Optimizer] = []  # whose code is PyTorch's
        self._groups: dict[int, tuple[str, dict[str, Any], dict[str, Any]]] = {}  # of these: their numbers
        self._ways = collections.Counter[int]()  # to these
        self._snapshot = Snapshot()
        self._spaces: dict[int, tuple[str, dict[str, Any], dict[str, None]]] = {}  # globals, and the names looked up
        self._modules: list[types.ModuleType] = []
        self._named: dict[str, None] = {}  # all names and texts in the code
        self._seen: dict[int, Any] = {}
        for name, root in (*roots, *(("the hooks of all modules", hooks) for hooks in HOOKS_OF_ALL)):
            self._follow(name, root, 0)
        self._follow_modules()
        for name, space, names in self._spaces.values():
            self._snapshot.of_names(name, space, list(names))

    def holds(self, group: dict[str, Any]) -> bool:
        """Whether the numbers of an optimizer's group are looked at by themselves, and nothing else leads to them."""
        return id(group) in self._groups and self._ways[id(group)] == 1

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
        for name, key in self.changed_numbers():
            return f"{name}[{key}]"
        return self._snapshot.changed()

    def _all(self, values: Iterable[Any], names: list[str], depth: int) -> None:
        for number, value in enumerate(values):
            self._follow(names[number] if number < len(names) else "an item", value, depth + 1)

    def _follow(self, name: str, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in ATOMS or (isinstance(value, ATOMS) and not is_own(kind)):
            return
        if id(value) in self._groups:
            self._ways[id(value)] += 1
        if id(value) in self._seen:
            return
        if depth > _DEEPEST or len(self._seen) > _MOST_OBJECTS:
            self._never(f"{name} is nested too deeply")
            return
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            self._tensor(name, value, depth)
        elif isinstance(value, types.FunctionType):
            self._function(name, value, depth)
        elif isinstance(value, (dict, types.MappingProxyType, list, tuple, set, frozenset, collections.deque)):
            self._container(name, value, depth)
        elif isinstance(value, type):
            self._class(name, value, depth)
        elif isinstance(value, types.ModuleType):
            if is_own_module(value):
                self._modules.append(value)
        elif not (self._wrapper(name, value, depth) or self._by_content(name, value)):
            if isinstance(value, torch.optim.Optimizer) and kind.__module__.startswith("torch.optim."):
                self._optimizer(name, value)
            if isinstance(value, torch.nn.Module) or has_state(value):
                self._attributes(name, value, depth)

    def _never(self, what: str) -> None:
        self.unguarded = self.unguarded or what

    def _tensor(self, name: str, tensor: torch.Tensor, depth: int) -> None:
        self.tensors.append((name, tensor))
        own = vars(tensor)
        if isinstance(tensor, DeviceTensor):
            added = [key for key in own if key not in _OF_DEVICE]
            self._snapshot.others.add(name, lambda: [own[key] for key in own if key not in _OF_DEVICE], added)
            self._all([own[key] for key in added], added, depth)
        else:  # a parameter may have to be carried in a block float
            names = [f"{name}.{key}" for key in own]
            self._all(self._snapshot.of_dict(name, own, names), names, depth)
        if tensor.requires_grad and not tensor.is_leaf:
            self._never(f"{name} has a graph, through which no replay would go backward")

    def _container(self, name: str, value: Any, depth: int) -> None:
        snapshot = self._snapshot
        if isinstance(value, (dict, types.MappingProxyType)):
            names = [f"{name}[{short(key)}]" for key in value]
            self._all(list(value), names, depth)
            if id(value) in self._groups:
                group = self._groups[id(value)][1]
                parts = snapshot.others.add(name, lambda: [*group, *without_numbers(group)], [*names, *names])
            else:
                parts = snapshot.of_dict(name, value, names)
            self._all(parts[-len(names) :], names, depth)
            if isinstance(value, collections.defaultdict):
                self._looked(f"{name}.default_factory", lambda: [value.default_factory], depth)
        else:
            names = [f"{name}[{n}]" for n in range(len(value))]
            fixed = isinstance(value, (tuple, frozenset))
            self._all(value if fixed else snapshot.of_items(name, value, names), names, depth)
        if is_own(type(value)):
            self._attributes(name, value, depth)

    def _looked(self, name: str, look: Any, depth: int) -> None:
        """Follow what a function gives, which is asked again at each call."""
        self._all(self._snapshot.others.add(name, look, []), [name, name, name], depth)

    def _wrapper(self, name: str, value: Any, depth: int) -> bool:
        """Follow what an object is around; whether it is such an object."""
        if isinstance(value, types.MethodType):
            self._all((value.__self__, value.__func__), [f"{name}.__self__", name], depth)
        elif isinstance(value, functools.partial):
            self._looked(name, lambda: [value.func, value.args, value.keywords], depth)
            self._all(self._snapshot.of_dict(name, vars(value), []), [], depth)
        elif isinstance(value, (staticmethod, classmethod, functools._lru_cache_wrapper)):
            self._follow(name, value.__wrapped__, depth + 1)
        elif isinstance(value, property):
            self._all((value.fget, value.fset, value.fdel), [name] * 3, depth)
        elif isinstance(value, functools.cached_property):
            self._follow(name, value.func, depth + 1)
        elif isinstance(value, functools.partialmethod):
            self._all((value.func, value.args, value.keywords), [name] * 3, depth)
        elif isinstance(value, weakref.ref):
            self._looked(name, lambda: [value()], depth)
        elif isinstance(value, contextvars.ContextVar):
            self._looked(name, lambda: [value.get(None)], depth)
        else:
            return False
        return True

    def _by_content(self, name: str, value: Any) -> bool:
        """Look at what can only be compared by its content; whether the object is of that kind."""
        content = self._snapshot.content
        if isinstance(value, np.ndarray):
            if value.nbytes > _MOST_BYTES or value.dtype.hasobject:
                self._never(f"the array {name} is too large to be compared at each call")
            else:
                content(f"the array {name}", value.tobytes)
        elif isinstance(value, (bytearray, array.array)):
            if len(value) > _MOST_BYTES:
                self._never(f"{name} is too large to be compared at each call")
            else:
                content(name, lambda: bytes(value))
        elif isinstance(value, random.Random):
            content(name, value.getstate)
        elif isinstance(value, (np.random.Generator, np.random.RandomState)):
            bits = value.bit_generator if isinstance(value, np.random.Generator) else value._bit_generator
            content(name, lambda: repr(bits.state))
        elif type(value).__module__ in ("builtins", "itertools") and hasattr(value, "__next__"):
            self._never(f"{name} is an iterator")
        else:
            return False
        return True

    def _optimizer(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        self.optimizers.append(optimizer)
        for place, group in enumerate(optimizer.param_groups):
            if type(group) is dict and id(group) not in self._seen:
                numbers = {key: item for key, item in group.items() if kind_of_number(item)}
                self._groups[id(group)] = f"{name}.param_groups[{place}]", group, numbers

    def _attributes(self, name: str, value: Any, depth: int) -> None:
        snapshot, kind = self._snapshot, type(value)
        snapshot.types.add(name, value, [])
        own = getattr(value, "__dict__", None)
        if type(own) is dict:
            snapshot.dicts.add(name, value, [name])
            names = [below(name, key) for key in own]
            self._all(snapshot.of_dict(name, own, names), names, depth)
        in_slots = [slot for base in kind.__mro__ for slot in slots(base)]
        if in_slots:
            names = [f"{name}.{slot}" for slot in in_slots]
            self._all(
                snapshot.others.add(name, lambda: [getattr(value, s, None) for s in in_slots], names), names, depth
            )
        self._follow(kind.__name__, kind, depth + 1)

    def _class(self, name: str, kind: type, depth: int) -> None:
        for base in kind.__mro__:
            if is_own(base) and (base is kind or id(base) not in self._seen):
                self._seen[id(base)] = base
                names = [f"{name}.{key}" for key in vars(base)]
                self._all(self._snapshot.of_dict(name, vars(base), names), names, depth)
        if is_own(type(kind)):  # its attributes are those of the class, too
            self._follow(type(kind).__name__, type(kind), depth + 1)

    def _function(self, name: str, function: types.FunctionType, depth: int) -> None:
        if not is_own(function) or function.__code__.co_filename.startswith(INSTALLED):
            return
        code, space, snapshot = function.__code__, function.__globals__, self._snapshot
        for kind in (snapshot.codes, snapshot.defaults, snapshot.named):
            kind.add(name, function, [name])
        for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if content_of_cell(cell) is None:  # or it is empty
                self._looked(free, lambda cell=cell: [content_of_cell(cell)], depth)
            else:
                self._all(snapshot.cells.add(free, cell, [free]), [free], depth)
        self._all((function.__defaults__, function.__kwdefaults__, function.__dict__), [name] * 3, depth)
        looked_up, imported, named = names_of(code)
        self._named.update(dict.fromkeys(named))
        module = space.get("__name__", name)
        known = self._spaces.setdefault(id(space), (str(module), space, {}))[2]
        for key in looked_up:
            if key not in known:
                known[key] = None
                self._follow(key, space.get(key), depth + 1)
        for key in imported:
            for full in (key, f"{space.get('__package__')}.{key}"):
                if full in sys.modules:
                    self._follow(full, sys.modules[full], depth + 1)

    def _follow_modules(self) -> None:
        """Follow what the code may take from the program's own modules: what has a name that occurs in the code."""
        looked = -1
        while looked != len(self._seen) + len(self._named):
            looked = len(self._seen) + len(self._named)
            for module in list(self._modules):
                space = vars(module)
                known = self._spaces.setdefault(id(space), (module.__name__, space, {}))[2]
                for key in [key for key in self._named if key in space and key not in known]:
                    known[key] = None
                    self._follow(f"{module.__name__}.{key}", space[key], 1)
