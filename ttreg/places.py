"""Finds where in a model a call comes from: the line of Python, and the module.

Nothing is replaced or hooked for this: the frames of the call tell it, and only whoever asks looks at them. The frames
of a backward pass show who asked for gradients, so that there the forward call of the same node of autograd tells it.
"""

from __future__ import annotations

import linecache
import os
import site
import sys
import threading
import weakref
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import CodeType, FrameType

import torch

from .pytorch_private import autograd_node, module_call, next_node_number, run_backward

# The code that runs a target. All outer frames belong to the command line.
RUNNERS = frozenset(("ttreg.coverage.targets", "ttreg.cli.program", "ttreg.bisect.measure"))
_CALL = module_call.__code__
_BACKWARD = run_backward.__code__
# Packages whose lines are not the program's. contextlib is between a block and what it does at its end.
NO_PROGRAMS = frozenset(("torch", "ttreg", "ttnn", "contextlib"))
_GENERAL = frozenset(("torch.nn.modules.module", "torch.nn.modules.container"))

_MOST_CODES = 1 << 14  # whose kind is kept
_MOST_NODES = 1 << 16  # of autograd, whose places are kept: a program may go forward for ever


@dataclass(frozen=True)
class Place:
    """File and line, the code there, and the innermost module that is running."""

    where: str = ""
    code: str = ""
    model: str = ""  # the class of the outermost module
    path: str = ""  # from it to the innermost one: "encoder.layer.3.attention"; empty if that is the outermost itself
    backward: bool = False  # whether autograd made the call, for what the place did

    @property
    def module(self) -> str:
        """The innermost module for people: its path, or its class if it has none."""
        return self.path or self.model

    def __str__(self) -> str:
        module = f" in {self.module}" if self.module else ""
        return f"{self.where or 'no line'}{module}"


class _Kind(Enum):
    """What a frame's code is."""

    RUNNER = auto()
    BACKWARD = auto()  # autograd's, which runs a backward pass
    CALL = auto()  # of a module
    PROGRAM = auto()
    LAYER = auto()  # of PyTorch
    OTHER = auto()


class _OfThread(threading.local):
    """The places of the nodes of autograd that a thread has made. Each thread numbers its own."""

    def __init__(self) -> None:
        self.first = next_node_number()
        self.places: dict[int, Place] = {}


class Places:
    """Finds the places of one program's calls."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[torch.nn.Module, dict[int, str]] = weakref.WeakKeyDictionary()
        self._owners: weakref.WeakKeyDictionary[torch.nn.Module, tuple[str, str]] = weakref.WeakKeyDictionary()
        self._kinds: dict[CodeType, _Kind] = {}
        self._nodes = _OfThread()
        _ = self._nodes.places  # of this thread: what it did before has no place

    def here(self) -> Place:
        """The innermost line outside PyTorch and ttreg; if a model has none, the line in PyTorch's layer."""
        line: FrameType | None = None
        layers: FrameType | None = None
        modules: list[torch.nn.Module] = []
        backward = False
        frame: FrameType | None = sys._getframe(1)
        kinds = self._kinds
        while frame is not None:
            kind = kinds.get(frame.f_code)
            if kind is None:
                kind = self._kind(frame)
            if kind is _Kind.PROGRAM:
                line = line or frame
            elif kind is _Kind.CALL:
                modules.append(frame.f_locals["self"])
            elif kind is _Kind.LAYER:
                layers = layers or frame
            elif kind is not _Kind.OTHER:
                backward = kind is _Kind.BACKWARD
                break
            frame = frame.f_back
        found = line or layers
        place = Place(*_line(found), *self._module(modules, backward), backward)
        if backward and not modules:
            place = self._forwards(place)
        self._remember(place)
        return place

    def _kind(self, frame: FrameType) -> _Kind:
        """What the frame's code is; kept, since a call has dozens of frames."""
        if len(self._kinds) >= _MOST_CODES:
            self._kinds.clear()
        kind = self._kinds[frame.f_code] = _kind_of(frame)
        return kind

    def _forwards(self, place: Place) -> Place:
        """The place of the forward call whose gradient is computed; a line of a program's own `backward` stays."""
        node = autograd_node()
        forward = None if node is None else self._nodes.places.get(node._sequence_nr())
        if forward is None:
            return place
        own = {"where": place.where, "code": place.code} if place.where else {}
        return replace(forward, backward=True, **own)

    def _remember(self, place: Place) -> None:
        """Keep the place for the gradient of the call. The node was made just before the call came here."""
        nodes, number = self._nodes, next_node_number() - 1
        if number < nodes.first or number in nodes.places:  # the first call after a node was made is the node's
            return
        if len(nodes.places) >= _MOST_NODES:
            for old in list(nodes.places)[: _MOST_NODES // 2]:
                del nodes.places[old]
        nodes.places[number] = place

    def _module(self, modules: list[torch.nn.Module], backward: bool) -> tuple[str, str]:
        """The class of the outermost module, and the path to the innermost one."""
        if not modules:
            return "", ""
        outermost = modules[-1]
        names = self._names.get(outermost)
        if names is None:
            names = self._names[outermost] = {}
            for name, module in outermost.named_modules():
                names[id(module)] = name
                self._owners.setdefault(module, (type(outermost).__name__, name))
        unknown: list[str] = []  # modules that no attribute of the outermost one holds
        for module in modules:
            if id(module) in names:
                break
            unknown.append(type(module).__name__)
        model, above = type(outermost).__name__, ""
        if backward:  # checkpoints run parts of a model again
            model, above = self._owners[outermost]
        return model, ".".join(filter(None, (above, names[id(module)], *reversed(unknown))))


def _kind_of(frame: FrameType) -> _Kind:
    name = frame.f_globals.get("__name__", "")
    if name in RUNNERS:
        return _Kind.RUNNER
    if frame.f_code is _BACKWARD:
        return _Kind.BACKWARD
    if frame.f_code is _CALL:
        return _Kind.CALL
    if name.partition(".")[0] not in NO_PROGRAMS:
        return _Kind.PROGRAM
    return _Kind.LAYER if name.startswith("torch.nn.modules.") and name not in _GENERAL else _Kind.OTHER


def _line(frame: FrameType | None) -> tuple[str, str]:
    if frame is None:
        return "", ""
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{file}:{number}", linecache.getline(file, number).strip()


def short(where: str) -> str:
    """A path for people to read: relative to the working directory, or to the folder of installed packages."""
    folders = [os.getcwd(), *site.getsitepackages()]
    inside = [folder for folder in folders if where.startswith(folder + os.sep)]
    return where[len(max(inside, key=len)) + 1 :] if inside else where
