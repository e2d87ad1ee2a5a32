"""`enable` and `disable`: a block without a `with`, for notebooks and the prompt."""

from __future__ import annotations

import threading
from typing import Any

from ..runtime.session import Session
from .dispatching import block_of_thread
from .mode import device_mode


class _OfThread(threading.local):
    mode: device_mode | None = None
    session: Session | None = None


_of_thread = _OfThread()


def enable(**keywords: Any) -> Session:
    """Open a block of `device_mode` that stays open until `disable()`, in this thread; gives its session.

    The keywords are those of `device_mode`. A block that was enabled before ends first, so that a notebook's cell may
    run again. Raises RuntimeError if that one cannot end here.
    """
    mode = device_mode(**keywords)  # first: what is wrong with the keywords should end nothing
    if _of_thread.mode is not None:
        disable()
    session = mode.__enter__()
    _of_thread.mode, _of_thread.session = mode, session
    return session


def disable() -> Session | None:
    """End the block that `enable` opened in this thread, as the end of a `with` does: tensors come to the host.

    Gives its session, whose `report()` tells what ran where; None if there is no such block. Raises RuntimeError in a
    `with` block that was entered since.
    """
    mode, session = _of_thread.mode, _of_thread.session
    if mode is None:
        return None
    block = block_of_thread()
    if block is not None and block.session is not session:
        raise RuntimeError("a block of ttreg.device_mode was entered after ttreg.enable(); it has to end first")
    _of_thread.mode = _of_thread.session = None
    mode.__exit__(None, None, None)
    return session
