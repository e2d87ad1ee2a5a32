"""`device_mode`: the block under which PyTorch code runs op by op through the registry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from ..devices import open_device
from ..forks import new_lock
from ..registry import registry
from ..runtime.session import Session
from ..settings import Settings
from ..tracing.trace import TracedSession
from ..tracing.trace_file import trace_file
from .decorated import decorated
from .dispatching import Dispatch, block_of_thread, mode_for
from .standing import Standing, to_the_end

_log = logging.getLogger(__name__)


class device_mode:
    """Run the PyTorch code of a `with` block op by op on a Tenstorrent chip, or on the emulated device.

    Keywords: `device` ("auto", "ttnn", "emulated", "mock"), `device_id`, `arch` ("wormhole_b0", "blackhole"),
    `validate`, `precision` ("preserve", "bfloat16"), `float32` ("fast", "exact"), `attention` ("auto", "fused",
    "exact"), `numerics` ("golden", "chip"), `on_fallback` ("allow", "warn", "raise"), `on_device_error` ("raise",
    "fallback"), `check` (None or a PCC), `buckets` ("off" or a multiple of 32 rows), `trace` (None or the path of a
    file to write), `visualizer` (None or a folder to write), `progress`, `weight_cache` (None, "1" or a folder),
    `weight_cache_bytes`, `min_upload_numel` (elements), and what a chip is opened with: `l1_small_size` and
    `trace_region_size` (bytes). Environment variables `TTREG_<KEYWORD>`, and [tool.ttreg] of the pyproject.toml
    nearest to the working directory, set the defaults. `as session` gives the `Session`, whose `report()` tells what
    ran where and why.

    It also decorates functions: each call is a block. A decorated generator or coroutine is in the block only while its
    own code runs, not while it waits. A `with` inside a coroutine belongs to its task and to tasks made in the block:
    others of the thread, which run while it waits, are outside. Of a `with` inside a generator, the thread's code is in
    the block while the generator waits, since it may be a context manager. After `mode = ttreg.device_mode()` and
    `@mode`, `with mode as session` gives the session of all calls, inside the function and after it.

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
        self._open: list[_Block] = []  # of all threads

    def __enter__(self) -> Session:
        block = _Block()
        try:
            session = self._opened(block)
            block.standing = _active(session)
            block.standing.__enter__()
        except BaseException:  # no `with` will call __exit__
            self._end(partial(self._leave, block), True)
            raise
        return session

    def __exit__(self, *exception: Any) -> None:
        found: list[_Block] = []

        def leave() -> None:
            if not found:
                found.append(self._innermost())
            self._leave(found[0])

        failed = bool(exception) and exception[0] is not None
        try:
            self._end(leave, failed)
        except Exception:
            raise
        except BaseException:  # an interrupt, which may have come before the work was begun
            self._end(leave, failed)
            raise

    def __call__(self, function: Any) -> Any:
        """Decorate a function so that each call is a block of this mode, as `@torch.no_grad()` does."""
        return decorated(function, self._call)

    @contextmanager
    def _call(self) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
        block, failed = _Block(), True
        try:
            yield partial(_active, self._opened(block))
            failed = False
        finally:
            self._end(partial(self._leave, block), failed)

    def _opened(self, block: _Block) -> Session:
        """The mode's session. It closes when the last of the mode's blocks ends."""
        with self._lock:
            if self._session is None or self._session.inherited:  # a forked process needs its own
                self._session, self._open = open_session(self._settings), []
            block.session = self._session
            self._open.append(block)
            return self._session

    def _innermost(self) -> _Block:
        """The block that an `__exit__` belongs to: the last one that was entered here, if there is one.

        A generator that was suspended in a block may be closed by another thread or task than entered it.
        """
        with self._lock:
            entered = [block for block in self._open if block.standing is not None]
        if not entered:
            raise RuntimeError("this block of ttreg.device_mode is not open")
        of_thread = [block for block in entered if block.thread == threading.get_ident()]
        of_task = [block for block in of_thread if block.standing is not None and block.standing.mode.here()]
        return (of_task or of_thread or entered)[-1]

    def _end(self, leave: Callable[[], None], failed: Any) -> None:
        try:
            to_the_end(leave)
        except Exception:
            if not failed:
                raise
            # The program should see and catch the exception that ended the block, not this one.
            _log.exception("a block of device_mode ended with an exception, and bringing its tensors to the host")

    def _leave(self, block: _Block) -> None:
        if block.standing is not None:
            block.standing.__exit__()
        with self._lock:
            session = block.session
            if session is None or session is not self._session:  # the block was open when the process was forked
                return
            self._open = [other for other in self._open if other is not block]
            last = not self._open
        if last:
            session.close()


class _Block:
    """A `with`, or the call of a decorated function."""

    session: Session | None = None
    standing: Standing | None = None  # for a `with`

    def __init__(self) -> None:
        self.thread = threading.get_ident()


def _active(session: Session) -> Standing:
    """Hand this thread's calls to the session, including the calls of compiled functions."""
    return Standing(mode_for(session), block_of_thread, eager=True)


def open_session(settings: Settings, sees_all_writes: bool = True) -> Session:
    """A session on the device that the settings name. The device is opened if need be.

    Raises SettingsError if the trace or the report for the visualizer cannot be written, DeviceUnavailableError if the
    device cannot be opened.
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
    if settings.visualizer is not None:
        from ..tracing.visualizer import Capture

        session.capture = Capture(settings.visualizer, session.device)
    return session


def enter_modes(
    stack: ExitStack, session: Session, kind: Any = None, replaces: bool = True, eager: bool = False
) -> None:
    """Hand this thread's calls to the session, through a dispatcher of that kind, until the stack is closed.

    With `eager`, compiled functions run the code that they were made from.
    """
    # Nothing is replaced for a graph of aten calls: meanwhile Dynamo could not compile in other threads.
    stack.enter_context(Standing(Dispatch(session, kind), block_of_thread if replaces else None, eager))


def _recorded(session: Session, function: Callable[..., Any], **options: Any) -> Any:
    from ..recording.recorded import Recorded  # few programs need it

    return Recorded(session, function, enter_modes, **options)


Session.recorded = staticmethod(_recorded)
