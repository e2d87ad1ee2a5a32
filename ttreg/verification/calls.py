"""A digest of the ttnn calls of a session. It shows whether a lowering has changed since it was measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from enum import Enum
from itertools import count
from typing import Any

import torch

from ..devices.base import Namespace, ttnn_dtype_name
from ..runtime.session import Session

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Calls:
    """The ttnn calls of a session, as text: the same on each device, in each process and on each machine."""

    def __init__(self, session: Session):
        """Record all ttnn calls of the session's lowerings. The session must be new."""
        self.lines: list[str] = []
        self._tensors: list[Any] = []  # kept alive, so that no other object gets the same id
        self._names: dict[int, str] = {}
        self._numbers = count()
        session.tt._ttnn = _NotedApi(session.device.tt, self)

    def digest(self) -> str:
        """A short hash of the calls that were made."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:12]

    def noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its calls recorded."""

        def call(*args: Any, **kwargs: Any) -> Any:
            given = [*map(self._text, args), *(f"{key}={self._text(value)}" for key, value in sorted(kwargs.items()))]
            result = function(*args, **kwargs)
            if name == "reshape" and _alike(result, args[0]):
                self._same(result, args[0])  # it does nothing
            else:
                self.lines.append(f"{name}({', '.join(given)}) = {self._text(result)}")
            return result

        return call

    def _text(self, value: Any) -> str:
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value)
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(self._text, value))}]"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key}: {self._text(item)}' for key, item in value.items())}}}"
        if isinstance(value, torch.Tensor):
            return f"{value.dtype}{list(value.shape)}"
        if all(hasattr(value, name) for name in ("dtype", "layout", "shape")):
            return self._tensor(value)
        if callable(value):
            return getattr(value, "__name__", type(value).__name__)
        return _setting(value)

    def _same(self, made: Any, given: Any) -> None:
        """Give a tensor the name of another one."""
        self._tensors.append(made)
        self._names[id(made)] = self._names[id(given)]

    def _tensor(self, value: Any) -> str:
        if id(value) not in self._names:
            self._names[id(value)] = f"t{next(self._numbers)}"
            self._tensors.append(value)
        shape = list(map(int, value.shape))
        return f"{self._names[id(value)]}:{ttnn_dtype_name(value)}{shape}{str(value.layout).rpartition('.')[2]}"


def _alike(made: Any, given: Any) -> bool:
    return list(map(int, made.shape)) == list(map(int, given.shape))


class _NotedApi:
    """A ttnn API that records its calls."""

    def __init__(self, tt: Any, calls: Calls):
        self._tt, self._calls = tt, calls

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._tt, name)
        if isinstance(attribute, Namespace):
            attribute = Namespace(self, name)
        elif name != "device" and callable(attribute) and not isinstance(attribute, type):
            attribute = self._calls.noted(name, attribute)
        setattr(self, name, attribute)
        return attribute


def _setting(value: Any, deep: int = 2) -> str:
    """An enumeration's name, or the type and public fields of another object of ttnn's."""
    kind = type(value)
    if isinstance(value, Enum) or not kind.__module__.startswith("ttnn") or not deep:
        return _ADDRESS.sub("", str(value)) if not kind.__name__.endswith("Device") else "device"
    names = [name for name in dir(kind) if not name.startswith("_") and not callable(getattr(kind, name, None))]
    fields = [f"{name}={_setting(getattr(value, name), deep - 1)}" for name in names if _is_field(kind, name)]
    return f"{kind.__name__}({', '.join(fields)})" if fields else _ADDRESS.sub("", str(value))


def _is_field(kind: type, name: str) -> bool:
    return isinstance(getattr(kind, name, None), property)
