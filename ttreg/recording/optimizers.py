"""Follows the numbers of PyTorch's own optimizers while a call is recorded: learning rates, and counts of steps.

Both change at each call, or may, and so does what an optimizer computes of them: `1 - beta**step`. The code of
`torch.optim` does so with Python's arithmetic and hands the numbers to ops on tensors. Within `step` it is therefore
given a `Number` for each, and what it calls with one is looked at before a C function takes it for a float. Whoever
else reads a learning rate in the recorded call gets a float, for whose value the recording then holds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, MethodType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..fallback import decompose
from ..modes import overrides_are_active
from ..pytorch_private import tree_map
from ..registry import registry
from .numbers import Number, Numbers, plainly
from .reach import Reach
from .tape import Tape
from .words import Miss

_OWN = ("torch.optim", "ttreg.ops.optimizers")
_NAMES = ("add", "sub", "mul", "div", "addcmul", "addcdiv", "lerp")  # each hands its numbers to one op as they are
_OPERATORS = ("__add__", "__radd__", "__iadd__", "__sub__", "__isub__", "__mul__", "__rmul__", "__imul__")
_DIVISIONS = ("__truediv__", "__itruediv__", "__div__", "__idiv__")
_KNOWN = frozenset(
    getattr(torch.Tensor, name)
    for name in (*_NAMES, *(f"{name}_" for name in _NAMES), *_OPERATORS, *_DIVISIONS)
    if hasattr(torch.Tensor, name)
)
_REVERSED = (torch.Tensor.__rdiv__, torch.Tensor.__rtruediv__)
_LISTS = {
    getattr(torch, f"_foreach_{name}{end}"): getattr(torch.Tensor, f"{name}{end}")
    for name in _NAMES
    for end in ("", "_")
}
_FUSED = {
    getattr(torch, name): getattr(torch.ops.aten, name).default
    for name in ("_fused_adam_", "_fused_adamw_", "_fused_sgd_", "_fused_adagrad_")
}
_PLAIN = frozenset((int, float, bool, type(None), str, list, tuple))
_item = torch.Tensor.item


class Group(dict[str, Any]):
    """A group of an optimizer's parameters while a call is recorded: it sees who reads its numbers."""

    def __init__(self, own: dict[str, Any], keys: set[str], numbers: Numbers, steps: Steps):
        super().__init__(own)
        self.own, self.read_elsewhere = own, set(own).difference(keys)
        self._keys, self._numbers, self._steps = keys, numbers, steps

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if key not in self._keys:
            return value
        if not self._steps.running or not _is_own(sys._getframe(1)):
            self.read_elsewhere.add(key)
            return value
        if type(value) is float:
            return self._number(key, None, value)
        if type(value) is tuple and all(type(item) is float for item in value):
            return tuple(self._number(key, place, item) for place, item in enumerate(value))
        return value

    def _number(self, key: str, place: int | None, value: float) -> Any:
        if not self._numbers.tape.on():
            return value
        made = "group", id(self.own), key, place
        return self._numbers.of(made, functools.partial(_of_group, self.own, key, place), value=value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.read_elsewhere.add(key)  # a replay would not write it
        super().__setitem__(key, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self),)

    def give_back(self) -> dict[str, Any]:
        """The group itself, with what was written to it."""
        now = dict(dict.items(self))
        if list(now) != list(self.own) or any(now[key] is not value for key, value in self.own.items()):
            self.own.clear()
            self.own.update(now)
        return self.own


def _sees_all(name: str) -> None:
    own = getattr(dict, name)

    @functools.wraps(own)
    def method(self: Group, *args: Any, **kwargs: Any) -> Any:
        self.read_elsewhere.update(dict.keys(self))
        return own(self, *args, **kwargs)

    setattr(Group, name, method)


for _name in (
    *("__iter__", "__reversed__", "__repr__", "__eq__", "__ne__", "__or__", "__ror__", "__ior__", "copy", "get"),
    *("__delitem__", "clear"),
    *("items", "keys", "pop", "popitem", "setdefault", "update", "values"),
):
    _sees_all(_name)


def _of_group(group: dict[str, Any], key: str, place: int | None) -> float:
    found = group[key] if place is None else group[key][place]
    if type(found) is not float:
        raise Miss(f"the {key} of an optimizer is no float any more")
    return found


class Steps(TorchFunctionMode):
    """Sees the torch functions that a step of an optimizer calls."""

    def __init__(self, tape: Tape):
        super().__init__()
        self.tape, self.numbers, self.running = tape, tape.numbers, False

    def step(self, own: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call the `step` of an optimizer."""
        plain = args or kwargs or self.running or not self.tape.on() or overrides_are_active()
        if plain:  # what a closure calls is the program's own
            return own(*args, **kwargs)
        self.running = True
        try:
            with self:
                return own()
        finally:
            self.running = False

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is _item and _is_own(sys._getframe(1)):
            return self._item(args[0])
        given = [value for value in _flat((args, kwargs)) if isinstance(value, Number)]
        if not given:
            return self._without(func, args, kwargs)
        if func in _LISTS:
            with self:
                return _for_each(_LISTS[func], args, kwargs)
        if func in _FUSED and self.tape.session.entries.find(_FUSED[func]) is registry.find(_FUSED[func]):
            with self:
                return decompose.run(_FUSED[func], args, kwargs)
        if func in _REVERSED and len(given) == 1:
            with self:
                return args[0].reciprocal() * args[1]  # as PyTorch's own does
        if func in _KNOWN and len(given) == 1:
            return self.numbers.within(given[0], func, args, kwargs)
        for number in given:
            number.pin()
        args, kwargs = tree_map(plainly, (args, kwargs))
        return func(*args, **kwargs)

    def _item(self, tensor: Any) -> Any:
        numbers = self.numbers
        numbers.reads, numbers.read = self.tape.on(), None
        try:
            value = _item(tensor)
        finally:
            numbers.reads = False
        return value if numbers.read is None else numbers.at(numbers.read, value)

    def _without(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call without numbers; one may be in a tensor, such as a learning rate, that PyTorch would read."""
        names = [name for name in ("alpha", "value") if isinstance(kwargs.get(name), torch.Tensor)]
        if func not in _KNOWN or len(names) != 1 or kwargs[names[0]].requires_grad:
            return func(*args, **kwargs)
        number = self._item(kwargs[names[0]])
        kwargs = {**kwargs, names[0]: number}
        if isinstance(number, Number):
            return self.numbers.within(number, func, args, kwargs)
        return func(*args, **kwargs)


@contextmanager
def followed(tape: Tape, reach: Reach, keys: set[str]) -> Iterator[None]:
    """While open, the optimizers in reach hand out numbers; those named by `keys` also of their groups."""
    steps = Steps(tape)
    given: list[tuple[Any, Any, Any]] = []
    groups: list[Group] = []
    for optimizer in filter(_may_follow, reach.optimizers):
        before, step = vars(optimizer).get("step"), _stepping(optimizer, steps)
        given.append((optimizer, before, step))
        vars(optimizer)["step"] = step
        for place, group in enumerate(optimizer.param_groups):
            if reach.holds(group):
                groups.append(Group(group, keys, tape.numbers, steps))
                optimizer.param_groups[place] = groups[-1]
    try:
        yield
    finally:
        for optimizer, before, step in given:
            if vars(optimizer).get("step") is step:
                if before is None:
                    del vars(optimizer)["step"]
                else:
                    vars(optimizer)["step"] = before
            optimizer.param_groups[:] = [
                group.give_back() if isinstance(group, Group) else group for group in optimizer.param_groups
            ]
        for group in groups:
            reach.let_go(group.own, keys.difference(group.read_elsewhere))


def _may_follow(optimizer: Any) -> bool:
    """Whether no number of an optimizer is of a type that takes a Number for a plain float, as NumPy's do."""
    values = [value for group in optimizer.param_groups for value in group.values()]
    values += [item for value in values if isinstance(value, tuple) for item in value]
    return all(type(value) in _PLAIN or isinstance(value, torch.Tensor) for value in values)


def _stepping(optimizer: Any, steps: Steps) -> Any:
    own = optimizer.step

    @functools.wraps(own.__func__ if isinstance(own, MethodType) else own)
    def step(_: Any, *args: Any, **kwargs: Any) -> Any:
        return steps.step(own, args, kwargs)

    return MethodType(step, optimizer)


def _is_own(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith(_OWN)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _for_each(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    """What PyTorch does for lists of tensors of the CPU: the function of single tensors for each."""
    count = len(args[0])

    def of(value: Any, place: int) -> Any:
        return value[place] if isinstance(value, (list, tuple)) else value

    made = []
    for place in range(count):
        single = [of(value, place) for value in args]
        named = {name: of(value, place) for name, value in kwargs.items()}
        if function.__name__.startswith("addc") and len(single) > 3:
            named["value"] = single.pop()
        elif function.__name__.startswith("addc"):
            named = {"value" if name == "scalars" else name: value for name, value in named.items()}
        made.append(function(*single, **named))
    return made
