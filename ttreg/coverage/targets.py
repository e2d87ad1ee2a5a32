"""What `ttreg coverage` and `ttreg bisect` take: a factory or a `torch.export` file, each as something to run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ..errors import TtregError, first_line
from ..pytorch_private import tree_map_only

FORMS = """\
script.py, script.py:factory, package.module:factory, program.pt2 (from torch.export.save) or calls.jsonl"""
RETURNS = """\
(model, args), (model, args, kwargs), or a function without arguments; args is a tuple, a tensor, or a dict by name"""

# PyTorch's switches of what torch.load may unpickle. They cannot both be set.
_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class TargetError(TtregError, ValueError):
    """The target cannot be loaded."""


@dataclass
class Target:
    """A program to run under a block, and the tensors whose values it starts without."""

    run: Callable[[], Any]
    unknown: list[torch.Tensor] = field(default_factory=list)
    model: torch.nn.Module | None = None  # that it calls
    on_meta: bool = False  # whether it has tensors without values


def from_factory(name: str) -> Target:
    """What `package.module:factory` or `script.py:factory` returns when it is called.

    A model is called with the inputs under `no_grad`; its parameters count as unknown, and so does what is on the meta
    device. Raises TargetError if there is no such factory, or it returns something else.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise TargetError(f"{name!r} is no target; expected {FORMS}")
    module = _script(place) if place.endswith(".py") else _module(place)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise TargetError(f"{place} has no function {attribute!r}; it has {known or 'none'}")
    made = _theirs(f"{name}, called without arguments,", factory)
    if callable(made) and not isinstance(made, torch.nn.Module):
        return Target(made)
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not callable(made[0]):
        shown = "a model without inputs" if isinstance(made, torch.nn.Module) else f"a {type(made).__name__}"
        raise TargetError(f"{name} returned {shown}; expected {RETURNS}")
    model, given = made[0], made[1]
    args: tuple = () if isinstance(given, dict) else tuple(given) if isinstance(given, (tuple, list)) else (given,)
    kwargs = dict(given) if isinstance(given, dict) else {}
    if len(made) == 3:
        kwargs.update(made[2])
    return _call(model, args, kwargs)


def from_export(path: Path) -> Target:
    """The program of a file that `torch.export.save` wrote, with the inputs that it was exported with.

    Raises TargetError if it cannot be read, or has pickles of other things than tensors and containers of them.
    """
    try:
        with _only_tensors_unpickled(path):
            program = torch.export.load(path)
    except Exception as error:  # of whatever type PyTorch and zipfile choose
        raise TargetError(f"{path} is no file of torch.export.save: {first_line(error)}") from None
    inputs = program.example_inputs
    if inputs is None:
        raise TargetError(f"{path} has no example inputs: export it with torch.export.export(model, args), and save it")
    return _call(program.module(), *inputs)


@contextmanager
def _only_tensors_unpickled(path: Path) -> Iterator[None]:
    """Has PyTorch refuse pickles that would run something, which `torch.export.load` runs."""
    with zipfile.ZipFile(path) as archive:
        if any(PurePosixPath(name).name.startswith("opaque_obj_") for name in archive.namelist()):
            raise ValueError("it has pickled objects, which are not read")
    before = {name: os.environ.pop(name, None) for name in _WEIGHTS_ONLY}
    os.environ[_WEIGHTS_ONLY[0]] = "1"
    try:
        yield
    finally:
        os.environ.pop(_WEIGHTS_ONLY[0])
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _call(model: Any, args: tuple, kwargs: dict[str, Any]) -> Target:
    unknown: list[torch.Tensor] = []
    if isinstance(model, torch.nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        if any(tensor.is_meta for tensor in tensors):
            model = model.to_empty(device="cpu")  # memory that is not touched
            tensors = [*model.parameters(), *model.buffers()]
            unknown += tensors
    on_meta = bool(unknown)

    def on_host(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal on_meta
        if not tensor.is_meta:
            return tensor
        on_meta = True
        unknown.append(torch.zeros(tensor.shape, dtype=tensor.dtype))
        return unknown[-1]

    args, kwargs = tree_map_only(torch.Tensor, on_host, (args, kwargs))
    if isinstance(model, torch.nn.Module):
        unknown += model.parameters()

    def run() -> Any:
        with torch.no_grad():
            return model(*args, **kwargs)

    return Target(run, unknown, model if isinstance(model, torch.nn.Module) else None, on_meta)


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # the package or the name is not valid
        found = None
    if found is None:
        raise TargetError(f"there is no module {name} (in {os.getcwd()}); a target is {FORMS}")
    return _theirs(f"the import of {name}", lambda: importlib.import_module(name))


def _script(place: str) -> Any:
    path = existing(place)
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses, pickle and others look there
    loader = spec.loader
    _theirs(f"the import of {place}", lambda: loader.exec_module(module))
    return module


def _theirs(what: str, run: Callable[[], Any]) -> Any:
    """Call `run()`, which is user code. Its exception becomes the cause of a TargetError."""
    try:
        return run()
    except Exception as error:  # user code raises anything
        raise TargetError(f"{what} raised {type(error).__name__}: {first_line(error)}") from error


def existing(place: str) -> Path:
    """The path of a file. Raises TargetError if there is none."""
    path = Path(place)
    if not path.is_file():
        raise TargetError(f"there is no file {place} (in {os.getcwd()}); a target is {FORMS}")
    return path
