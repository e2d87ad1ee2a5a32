"""`device_mode`: the block under which PyTorch code runs op by op through the registry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from ..devices import open_device
from ..fallback import host
from ..forks import new_lock, tell
from ..hooks import higher_order
from ..hooks.replaced import replaced
from ..memory import watch
from ..memory.tensor import BlockMode, others_subclass
from ..modes import overrides_are_active, without_overrides
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
    uncompiled,
)
from ..registry import registry
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..settings import Settings
from ..tracing.trace import TracedDispatcher, TracedSession
from ..tracing.trace_file import trace_file
from .decorated import decorated

_log = logging.getLogger(__name__)


class device_mode:
    """Run the PyTorch code of a `with` block op by op on a Tenstorrent chip, or on the emulated device.

    Keywords: `device` ("auto", "ttnn", "emulated", "mock"), `device_id`, `arch` ("wormhole_b0", "blackhole"),
    `validate`, `precision` ("preserve", "bfloat16"), `attention` ("auto", "fused", "exact"), `on_fallback` ("allow",
    "warn", "raise"), `on_device_error` ("raise", "fallback"), `check` (None or a PCC), `buckets` ("off" or a multiple
    of 32 rows), `trace` (None or the path of a file to write), `min_upload_numel` (elements), and what a chip is opened
    with: `l1_small_size` and `trace_region_size` (bytes). Environment variables `TTREG_<KEYWORD>`, and [tool.ttreg] of
    the pyproject.toml nearest to the working directory, set the defaults. `as session` gives the `Session`, whose
    `report()` tells what ran where and why.

    It also decorates functions: each call is a block. A decorated generator or coroutine is in the block only while its
    own code runs, not while it waits. A `with` inside a coroutine cannot know when the coroutine waits, so other tasks
    of the same thread run inside that block too. After `mode = ttreg.device_mode()` and `@mode`, `with mode as session`
    gives the session of all calls, inside the function and after it.

    Blocks nest, and the innermost handles the calls. One object may be entered again, also inside its own block: it
    keeps the same session, whose tensors come to the host when its outermost block ends. The mode belongs to the thread
    that entered it; other threads use device tensors on the host. A forked process, such as a worker of a `DataLoader`,
    runs its calls on the host. There, a tensor that only the device holds raises DeviceError. A block that a forked
    process opens has an emulated device of its own.

    With `trace`, calls and transfers are written to that file as they happen, in Chrome's trace-event format, which
    Perfetto opens. Sessions of one process that name the same file share it.

    Raises SettingsError for an unknown keyword or value, and on entry for a trace that cannot be written;
    DeviceUnavailableError if the device cannot be opened.
    """

    def __new__(cls, function: Any = None, /, **keywords: Any) -> Any:
        """A mode; or the decorated function, if `device_mode` itself is used as the decorator."""
        return super().__new__(cls) if function is None else cls(**keywords)(function)

    def __init__(self, **keywords: Any):
        self._settings = Settings.resolve(keywords)
        self._lock = new_lock()
        self._session: Session | None = None
        self._open_blocks = 0  # counted over all threads
        self._of_thread = _Blocks()

    def __enter__(self) -> Session:
        with ExitStack() as stack:  # leaves what is entered if a later step fails
            session = stack.enter_context(self._open_session())  # left when the modes are no longer active
            stack.enter_context(_active(session))
            self._of_thread.blocks.append(stack.pop_all())
        return session

    def __exit__(self, *exception: Any) -> None:
        self._of_thread.blocks.pop().__exit__(*exception)

    def __call__(self, function: Any) -> Any:
        """Decorate a function so that each call is a block of this mode, as `@torch.no_grad()` does."""
        return decorated(function, self._call)

    @contextmanager
    def _call(self) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
        with self._open_session() as session:
            yield partial(_active, session)

    @contextmanager
    def _open_session(self) -> Iterator[Session]:
        """The mode's session. It closes when the last of these contexts ends, counted over all threads."""
        with self._lock:
            if self._session is None or self._session.inherited:  # a forked process needs its own
                self._session, self._open_blocks = open_session(self._settings), 0
            session = self._session
            self._open_blocks += 1
        try:
            yield session
        except BaseException as ended:
            try:
                self._leave(session)
            except Exception:
                # The program should see and catch the exception that ended the block, not this one.
                kind = type(ended).__name__
                _log.exception("the block of device_mode ended with %s, and bringing its tensors to the host", kind)
            raise
        else:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        with self._lock:
            if session is not self._session:  # the block was open when the process was forked
                return
            self._open_blocks -= 1
            last = not self._open_blocks
        if last:
            session.close()


@contextmanager
def _active(session: Session) -> Iterator[None]:
    """Hand this thread's calls to the session, including the calls of compiled functions."""
    with ExitStack() as stack:
        enter_modes(stack, session)
        stack.enter_context(uncompiled())
        yield


def open_session(settings: Settings, sees_all_writes: bool = True) -> Session:
    """A session on the device that the settings name. The device is opened if need be.

    Raises SettingsError if the trace cannot be written, DeviceUnavailableError if the device cannot be opened.
    """
    registry.load()
    if settings.trace is None:
        session = Session(settings, open_device(settings), sees_all_writes)
    else:
        file = trace_file(settings.trace)  # before the device, since that is slower to open
        session = TracedSession(settings, open_device(settings), sees_all_writes, file)
    if settings.check is not None:
        from ..checking import check  # few programs need it

        session.checker = check
    return session


def enter_modes(stack: ExitStack, session: Session, kind: Any = None, replaces: bool = True) -> None:
    """Hand this thread's calls to the session, through a dispatcher of that kind, until the stack is closed."""
    if replaces:  # not for a graph of aten calls: meanwhile Dynamo could not compile in other threads
        stack.enter_context(replaced(block_of_thread))
    stack.enter_context(_Dispatch(session, kind))


def _recorded(session: Session, function: Callable[..., Any], **options: Any) -> Any:
    from ..recording.recorded import Recorded  # few programs need it

    return Recorded(session, function, enter_modes, **options)


Session.recorded = staticmethod(_recorded)


def in_block() -> bool:
    """Whether this thread's calls go to a session."""
    return block_of_thread() is not None


def block_of_thread() -> _Dispatch | None:
    """The mode of the innermost block that this thread's calls go to."""
    modes = dispatch_modes()
    blocks = (m for m in reversed(modes) if isinstance(m, _Dispatch) and not m.session.inherited)
    return None if _tracing() else next(blocks, None)


def dispatching() -> bool:
    """Whether a session is handling a call of this thread right now."""
    return _of_thread.dispatching


class _Blocks(threading.local):
    """The open blocks of one `device_mode` in a thread, the innermost last."""

    def __init__(self) -> None:
        self.blocks: list[ExitStack] = []


class _Passing:
    """Leaves calls to the host, in a process that was forked inside a block."""

    dispatch = staticmethod(host.run_outside)


class _Dispatch(BlockMode):
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
        self._dispatcher: Dispatcher | _Passing = made(session, self._reenter)
        self.session = session
        tell(self)

    def forked(self) -> None:
        """Let the calls of a forked process go to the host: it cannot use the parent's session."""
        self._dispatcher = _Passing()

    def __call__(self) -> _Dispatch:
        """The mode as a context, for code that has to run under it again."""
        return self

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

    @contextmanager
    def _reenter(self) -> Iterator[None]:
        """Dispatch the calls that the current op is decomposed into."""
        _of_thread.dispatching = False
        try:
            with self:
                yield
        finally:
            _of_thread.dispatching = True


def _other_modes() -> list[TorchDispatchMode]:
    return [mode for mode in dispatch_modes() if not isinstance(mode, _Dispatch)]


def _tracing() -> bool:
    mode_of, key = dispatch_mode_of, ModeKey
    return mode_of(key.FAKE) is not None or mode_of(key.PROXY) is not None or mode_of(key.FUNCTIONAL) is not None


# Counts the active modes without the one that is handling a call.
_count_of_modes = count_of_dispatch_modes


class _OfThread(threading.local):
    dispatching = False


_of_thread = _OfThread()
