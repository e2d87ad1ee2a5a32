"""Hands a program's own ttnn calls to the device of its block: there they are counted, recorded, or emulated.

`import ttnn` gives a program ttnn's functions. On a chip they work by themselves; on the emulated device, whose tensors
ttnn does not know, they could not. So that the same lines run on both, ttnn's function objects ask here first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from operator import attrgetter
from typing import Any

from ..forks import new_lock
from ..modes import without_any_modes

# Written in Python, of other functions of ttnn: they run as they are, and their parts are handed on.
_OF_PARTS = "ttnn.Tensor."


class OfEmulated:
    """What ttnn does not know: tensors of the emulated device, and the device itself."""

    __slots__ = ()


class _OfThread(threading.local):
    api: Any = None  # what the thread's ttnn calls go to; None: to ttnn


_of_thread = _OfThread()
_lock = new_lock()
_installed = False


@contextmanager
def handed_to(api: Any) -> Iterator[None]:
    """While open, the thread's calls of ttnn functions go to this API of a session."""
    if not _installed:
        _install()
    outer, _of_thread.api = _of_thread.api, api
    try:
        yield
    finally:
        _of_thread.api = outer


class Direct:
    """An API as a lowering sees it, whose own calls of ttnn functions are handed to nobody, also within `handed_to`."""

    def __init__(self, api: Any):
        self._api = api

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._api, name)
        if isinstance(attribute, type) or name == "device":
            return attribute
        if callable(attribute):

            def call(*args: Any, **kwargs: Any) -> Any:
                with handed_to(None):
                    return attribute(*args, **kwargs)

            return call
        return Direct(attribute) if hasattr(type(attribute), "__getattr__") else attribute  # `tt.transformer`


def emulated_outside(api_of_block: Callable[[], Any]) -> None:
    """From now on, calls with tensors of the emulated device go to what the function gives, wherever they are made."""
    global _api_of_block
    _api_of_block = api_of_block
    _install()


def _no_block() -> Any:
    return None


_api_of_block: Callable[[], Any] = _no_block


def current_api() -> Any:
    """The API that the thread's ttnn calls go to, also those in a block but outside of a function; None if none."""
    return _of_thread.api or _api_of_block()


def _install() -> None:
    global _installed
    with _lock:
        if _installed:
            return
        from ttnn.decorators import FastOperation

        original = FastOperation.__call__

        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            name = self.python_fully_qualified_name
            if name.startswith(_OF_PARTS):
                return original(self, *args, **kwargs)
            api = _of_thread.api
            if api is None:
                if not _are_emulated((*args, *kwargs.values())):
                    return original(self, *args, **kwargs)
                api = _api_of_block()
                if api is None:
                    raise RuntimeError(f"{name} got a tensor of the emulated device outside of the block it belongs to")
            _of_thread.api, outer = None, _of_thread.api  # what the device itself calls is ttnn's own
            try:
                with without_any_modes():
                    return attrgetter(name.removeprefix("ttnn."))(api)(*args, **kwargs)
            finally:
                _of_thread.api = outer

        FastOperation.__call__ = call
        _installed = True


def _are_emulated(values: Iterable[Any]) -> bool:
    return any(
        isinstance(value, OfEmulated) or (isinstance(value, (list, tuple)) and _are_emulated(value)) for value in values
    )
