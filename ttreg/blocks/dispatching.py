"""The mode through which a block gets the calls of its thread."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ..fallback import host
from ..forks import tell
from ..hooks import higher_order
from ..memory import watch
from ..memory.tensor import others_subclass
from ..modes import BlockMode, overrides_are_active, without_overrides
from ..pytorch_private import (
    HigherOrderOperator,
    ModeKey,
    OpOverload,
    TorchDispatchMode,
    count_of_dispatch_modes,
    disable_current_modes,
    dispatch_mode_of,
    dispatch_modes,
    pop_mode,
    push_mode,
    skip_frames_of,
)
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..tracing.trace import TracedDispatcher, TracedSession


def in_block() -> bool:
    """Whether this thread's calls go to a session."""
    return block_of_thread() is not None


def block_of_thread() -> Dispatch | None:
    """The mode of the innermost block that this thread's calls go to."""
    modes = dispatch_modes()
    blocks = (m for m in reversed(modes) if isinstance(m, Dispatch) and m.here() and not m.session.inherited)
    return None if _tracing() else next(blocks, None)


def dispatching() -> bool:
    """Whether a session is handling a call of this thread right now."""
    return _of_thread.dispatching


class _Passing:
    """Leaves calls to the host: after the block, and in a process that was forked inside it."""

    dispatch = staticmethod(host.run_outside)


class Dispatch(BlockMode):
    """Hands every aten call to the session's dispatcher."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise PyTorch wraps `__torch_dispatch__`. The wrapper imports Dynamo, which takes seconds, and costs a
        # microsecond at each call. `skip_frames_of` below keeps Dynamo out instead.
        return False

    def __init__(self, session: Session, kind: Callable[..., Dispatcher] | None = None):
        super().__init__()
        made: Any = kind or (TracedDispatcher if isinstance(session, TracedSession) else Dispatcher)
        self._dispatcher: Dispatcher | _Passing = made(session, lambda: _Again(self))
        self.session = session
        tell(self)

    def forked(self) -> None:
        """Let the calls of a forked process go to the host: it cannot use the parent's session."""
        self._dispatcher = _Passing()

    def end(self) -> None:
        """Let calls go to the host from now on, also those of a thread on whose stack the mode still stands."""
        self.ended, self._dispatcher = True, _Passing()

    def __call__(self) -> _Again:
        """The mode as a context, for code that has to run under it again."""
        return _Again(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        thread, has_modes = _of_thread, _count_of_modes()
        # The call comes from the work of an inner block, or PyTorch is tracing.
        if thread.dispatching or (has_modes and _tracing()):
            return watch.passing(func, args, kwargs or {})
        if types and others_subclass(types):
            return NotImplemented  # PyTorch then asks the subclass, whose own calls come here
        if type(func) is not OpOverload and isinstance(func, HigherOrderOperator):  # isinstance is slow
            return higher_order.run(func, args, kwargs or {}, self)
        if has_modes and (others := _other_modes()):
            return self._below(others, func, args, kwargs or {})
        thread.dispatching = True
        try:
            if overrides_are_active():  # for example, if autograd makes the call
                with without_overrides():
                    return self._dispatcher.dispatch(func, args, kwargs or {})
            return self._dispatcher.dispatch(func, args, kwargs or {})
        finally:
            thread.dispatching = False

    skip_frames_of(__torch_dispatch__)

    def _below(self, others: list[TorchDispatchMode], func: Any, args: Any, kwargs: Any) -> Any:
        """Run the call under the modes that were entered before the block, with this mode below them.

        So these modes see the program's own calls, as without a block. Otherwise a FLOP counter would count the calls
        that carry them out.
        """
        with disable_current_modes():
            for mode in (self, *others):
                push_mode(mode)
            try:
                return func(*args, **kwargs)
            finally:
                for _ in (self, *others):
                    pop_mode()


class DispatchOfTask(Dispatch):
    """The mode of a block that a coroutine has entered: while it waits, calls of other tasks pass by."""

    def __init__(self, session: Session, kind: Callable[..., Dispatcher] | None = None):
        super().__init__(session, kind)
        _of_task.set((*_of_task.get(), self))

    def end(self) -> None:
        """As for any mode; the task's context keeps no ended ones."""
        super().end()
        _of_task.set(tuple(mode for mode in _of_task.get() if not mode.ended))

    def here(self) -> bool:
        """Whether the block belongs to the task that runs now: it has entered it, or was made inside it."""
        return not self.ended and self in _of_task.get()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self not in _of_task.get():
            return watch.passing(func, args, kwargs or {})
        return super().__torch_dispatch__(func, types, args, kwargs)

    skip_frames_of(__torch_dispatch__)


_of_task: ContextVar[tuple[Dispatch, ...]] = ContextVar("ttreg_blocks_of_task", default=())


def mode_for(session: Session, kind: Callable[..., Dispatcher] | None = None) -> Dispatch:
    """The mode for a block that is being entered: of the task, if a coroutine enters it; else of the thread."""
    return (DispatchOfTask if _in_coroutine() else Dispatch)(session, kind)


def _in_coroutine() -> bool:
    """Whether the code that runs now belongs to a coroutine, which may wait while other code runs in the thread.

    A block of an asynchronous generator is the thread's, as one of a generator is: both stand for context managers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        flags = frame.f_code.co_flags
        if flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            return bool(flags & inspect.CO_COROUTINE)
        frame = frame.f_back
    return False


class _Again:
    """Has the mode handle calls that are made while it handles one: those that the call is decomposed into."""

    __slots__ = ("_depth", "_dispatching", "_mode")

    def __init__(self, mode: Dispatch):
        self._mode, self._depth, self._dispatching = mode, count_of_dispatch_modes(), _of_thread.dispatching

    def __enter__(self) -> None:
        _of_thread.dispatching = False
        push_mode(self._mode)

    def __exit__(self, *exception: Any) -> None:
        while count_of_dispatch_modes() > self._depth:
            pop_mode()
        _of_thread.dispatching = self._dispatching


def _other_modes() -> list[TorchDispatchMode]:
    return [mode for mode in dispatch_modes() if not isinstance(mode, Dispatch)]


def _tracing() -> bool:
    mode_of, key = dispatch_mode_of, ModeKey
    return mode_of(key.FAKE) is not None or mode_of(key.PROXY) is not None or mode_of(key.FUNCTIONAL) is not None


# Counts the active modes without the one that is handling a call.
_count_of_modes = count_of_dispatch_modes


class _OfThread(threading.local):
    dispatching = False


_of_thread = _OfThread()
