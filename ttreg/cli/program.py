"""Runs a script or module as `python` would, but under `device_mode`, with the program's own errors and exit code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

import torch

from ..errors import TtregError
from ..runtime.session import Session

FAILED, INTERRUPTED = 1, 130

_TTREG = Path(__file__).parents[1]
# From a checkout, the host runtime lies beside the package.
_OURS = tuple(f"{folder}{os.sep}" for folder in (_TTREG, _TTREG.parent / "fallback"))
_PYTORCHS = f"{Path(torch.__file__).parent}{os.sep}"


class Program:
    """A script, or a module as `python -m` takes it, and its arguments.

    Raises ValueError if there is none, with what is wrong.
    """

    def __init__(self, name: str, arguments: Sequence[str], is_module: bool = False):
        self._main = ModuleType("__main__")
        if is_module:
            sys.path[0] = os.getcwd()
            spec = _module(name)
            self._path = spec.origin or name
            self._main.__spec__, self._main.__package__ = spec, spec.parent
            self._main.__loader__ = spec.loader
        else:
            path = Path(name)
            if path.is_dir():
                raise ValueError(f"{name} is a folder; name a script in it, or use -m for a package")
            if not path.is_file():
                raise ValueError(f"there is no script {name} (in {os.getcwd()}); use -m for a module")
            sys.path[0] = str(path.resolve().parent)
            self._path = os.path.abspath(name)
            self._main.__loader__ = importlib.machinery.SourceFileLoader("__main__", self._path)
        self._main.__dict__["__file__"] = self._path
        self._arguments = [self._path if is_module else name, *arguments]

    def run(self, block: AbstractContextManager[Session]) -> tuple[Session, Any]:
        """Run it in the block. Returns the session, and the exit code or the argument of the program's `sys.exit`.

        An exception of the program is printed as Python prints it, without the frames of ttreg.
        """
        sys.argv = self._arguments
        sys.modules["__main__"] = self._main
        sys.excepthook = sys.__excepthook__
        code: CodeType | None = None
        ending: Any = 0
        with block as session:
            try:
                code = self._code()
                exec(code, self._main.__dict__)
            except SystemExit as request:
                ending = request.code
            except BaseException as error:
                print_error(error, code)
                ending = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
            _flush()
        return session, ending

    def _code(self) -> CodeType:
        if self._main.__spec__ is None:
            return compile(Path(self._path).read_bytes(), self._path, "exec")
        code = self._main.__loader__.get_code(self._main.__spec__.name)  # type: ignore[union-attr]
        assert code is not None
        return code


def _module(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise ValueError(f"there is no module {name}: {error}") from None
    if spec is None or not hasattr(spec.loader, "get_code") or not spec.has_location:
        package = name.removesuffix(".__main__")
        is_package = package != name
        raise ValueError(f"{package} is a package without a __main__" if is_package else f"there is no module {name}")
    return spec


def print_error(error: BaseException, code: CodeType | None) -> None:
    """Print an exception of a program's as Python would, from the frame of `code` on."""
    error.__traceback__ = _programs(error, code)
    sys.excepthook(type(error), error, error.__traceback__)


def _programs(error: BaseException, code: CodeType | None) -> TracebackType | None:
    """The error's traceback from the program's first frame on, without frames of ttreg and of PyTorch below them.

    An error of ttreg's own keeps them.
    """
    entry = error.__traceback__
    while entry is not None and entry.tb_frame.f_code is not code:
        entry = entry.tb_next
    while entry is not None and entry.tb_frame.f_code.co_filename.startswith(_OURS):  # of a factory's program
        entry = entry.tb_next
    if isinstance(error, TtregError):
        return entry
    kept, below_ours = [], False
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        below_ours = file.startswith(_OURS) or (below_ours and file.startswith(_PYTORCHS))
        if not below_ours:
            kept.append(entry)
        entry = entry.tb_next
    last = None
    for entry in reversed(kept):
        entry.tb_next, last = last, entry
    return last


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
