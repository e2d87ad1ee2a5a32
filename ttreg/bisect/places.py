"""Finds where in a model a call comes from: the line of Python, and the module."""

from __future__ import annotations

import linecache
import os
import site
import sys
import weakref
from dataclasses import dataclass
from types import FrameType

import torch

from ..pytorch_private import module_call

# The code that runs a target. All outer frames belong to the command line.
_RUNNERS = frozenset(("ttreg.coverage.targets", "ttreg.cli.program", "ttreg.bisect.measure"))
_CALL = module_call.__code__
_GENERAL = frozenset(("torch.nn.modules.module", "torch.nn.modules.container"))


@dataclass(frozen=True)
class Place:
    """File and line, the code there, and the name of the innermost module that is running."""

    where: str = ""
    code: str = ""
    module: str = ""


class Places:
    """Finds the places of one program's calls."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[torch.nn.Module, dict[int, str]] = weakref.WeakKeyDictionary()

    def here(self) -> Place:
        """The innermost line outside PyTorch and ttreg; if a model has none, the line in PyTorch's layer."""
        line: FrameType | None = None
        layers: FrameType | None = None
        modules: list[torch.nn.Module] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            if name in _RUNNERS:
                break
            if frame.f_code is _CALL:
                modules.append(frame.f_locals["self"])
            elif line is None and name.partition(".")[0] not in ("torch", "ttreg"):
                line = frame
            elif layers is None and name.startswith("torch.nn.modules.") and name not in _GENERAL:
                layers = frame
            frame = frame.f_back
        found = line or layers
        if found is None:
            return Place(module=self._name(modules))
        file, number = found.f_code.co_filename, found.f_lineno
        return Place(f"{file}:{number}", linecache.getline(file, number).strip(), self._name(modules))

    def _name(self, modules: list[torch.nn.Module]) -> str:
        if not modules:
            return ""
        outermost, innermost = modules[-1], modules[0]
        names = self._names.get(outermost)
        if names is None:
            names = self._names[outermost] = {id(module): name for name, module in outermost.named_modules()}
        return names.get(id(innermost)) or type(innermost).__name__


def short(where: str) -> str:
    """A path for people to read: relative to the working directory, or to the folder of installed packages."""
    folders = [os.getcwd(), *site.getsitepackages()]
    inside = [folder for folder in folders if where.startswith(folder + os.sep)]
    return where[len(max(inside, key=len)) + 1 :] if inside else where
