"""Whose an object is, the program's own or a package's, and what of it may change."""

from __future__ import annotations

import argparse
import collections
import site
import sys
import threading
import types
from typing import Any

import torch

from .snapshot import ATOMS

_FOREIGN = ("torch", "ttreg", "numpy", "ttnn", "builtins", *sys.stdlib_module_names)
INSTALLED = (*site.getsitepackages(), site.getusersitepackages())
_FOLLOWED = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
_HOLDERS = (  # of the standard library, for what a program puts there
    *(types.SimpleNamespace, argparse.Namespace, threading.local),
    *(collections.UserDict, collections.UserList, collections.UserString, collections.ChainMap),
)
_TUPLES: dict[int, object] = {}  # what stands for a tuple of so many numbers


def content_of_cell(cell: Any) -> Any:
    """What a cell of a closure holds."""
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def has_state(value: Any) -> bool:
    """Whether attributes of this object may change: the program's own do, and those of a package, such as a cache."""
    foreign = type(value).__module__.partition(".")[0] in _FOREIGN
    return not foreign or isinstance(value, (*_FOLLOWED, *_HOLDERS))


def is_own_module(module: types.ModuleType) -> bool:
    """Whether a module is the program's own."""
    file = getattr(module, "__file__", None)
    return module.__name__.partition(".")[0] not in _FOREIGN and (file is None or not file.startswith(INSTALLED))


def slots(kind: type) -> list[str]:
    """The attributes in the slots of a class, under the names that Python gives to private ones."""
    found = vars(kind).get("__slots__", ())
    private = f"_{kind.__name__.lstrip('_')}"
    names = [name for name in ((found,) if isinstance(found, str) else found) if not name.endswith("__")]
    return [private + name if name.startswith("__") else name for name in names]


def is_own(value: Any) -> bool:
    """Whether a class or function is the program's own."""
    module = value.__module__
    if module is None or module.partition(".")[0] in _FOREIGN:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not file.startswith(INSTALLED)


def kind_of_number(value: Any) -> Any:
    """The kind of an optimizer's number, or pair of numbers; None if it is something else."""
    if type(value) is float:
        return float
    if type(value) is tuple and value and all(type(item) is float for item in value):
        return _TUPLES.setdefault(len(value), object())
    return None


def without_numbers(group: dict[str, Any]) -> list[Any]:
    """The values of an optimizer's group, with what stands for numbers in their places."""
    return [kind_of_number(value) or value for value in group.values()]


def short(key: Any) -> str:
    """A key as names show it."""
    return f"{key!r:.40}" if isinstance(key, ATOMS) else type(key).__name__


def below(name: str, key: str) -> str:
    """The name of an attribute."""
    return name if key in ("_parameters", "_buffers", "_modules") else f"{name}.{key}"
