"""Functions and modules that are recorded in each block that they are called in, and run as they are elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, overload
from weakref import WeakKeyDictionary

from torch import nn

from ..modes import BlockMode, modes_here
from ..runtime.session import Session


class InEachBlock:
    """A function that each session records for itself: a recording ends with its session."""

    def __init__(self, function: Callable[..., Any], check_every: int | None, trace: bool = False):
        update_wrapper(self, function, updated=())
        self._function = function
        self._options: dict[str, Any] = {"check_every": check_every, "trace": trace}
        self._steps: WeakKeyDictionary[Session, Callable[..., Any]] = WeakKeyDictionary()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        modes = modes_here()
        session = getattr(modes[-1], "session", None) if modes and isinstance(modes[-1], BlockMode) else None
        if session is None:
            return self._function(*args, **kwargs)
        step = self._steps.get(session)
        if step is None:
            step = self._steps.setdefault(session, session.record(self._function, **self._options))
        return step(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else partial(self, instance)


class Forward(InEachBlock):
    """The `forward` of a recorded module. A copy of the module gets one of its own, also by pickle."""

    def __init__(self, module: nn.Module, check_every: int | None, trace: bool = False):
        super().__init__(partial(type(module).forward, module), check_every, trace)
        self._module = module

    def __deepcopy__(self, memo: dict[int, Any]) -> Forward:
        return Forward(copy.deepcopy(self._module, memo), **self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Forward, self._module, **self._options), ()


@overload
def recorded(function: Callable[..., Any]) -> Callable[..., Any]: ...


@overload
def recorded(
    *, check_every: int | None = None, trace: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def recorded(function: Callable[..., Any] | None = None, *, check_every: int | None = None, trace: bool = False) -> Any:
    """Decorates a function: in a block it is recorded at its first call and replayed at later ones.

    See `Session.record`. Each session has recordings of its own; outside of blocks the function runs as it is. Raises
    TypeError for what is no function.
    """
    if function is None:
        return partial(recorded, check_every=check_every, trace=trace)
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"ttreg.recorded decorates functions and methods; got {function!r}")
    return InEachBlock(function, check_every, trace)


def record(module: nn.Module, *, check_every: int | None = None, trace: bool = False) -> nn.Module:
    """Let a module's `forward` be recorded in each block that it is called in; returns the module.

    Its `state_dict`, parameters, hooks and attributes are as they were, but for the attribute `forward`. Hooks of the
    module itself run at each call, around the replay. Raises TypeError for what is no module, or has a `forward` of its
    own already.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"ttreg.record takes a module; for a function there is ttreg.recorded; got {module!r:.80}")
    if "forward" in vars(module):
        raise TypeError(
            f"this {type(module).__name__} has a forward of its own, set as an attribute; decorate that one"
        )
    module.forward = Forward(module, check_every, trace)
    return module
