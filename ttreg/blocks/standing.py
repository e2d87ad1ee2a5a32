"""Modes of blocks on a thread's stack: how they get there, and how they leave it in whatever order blocks end.

Blocks need not end in the reverse order of their beginnings, nor where they began: a generator that waits inside a
block may be closed after other blocks have begun, or by another thread. And an interrupt may come at any point.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..forks import new_lock
from ..hooks import replaced
from ..modes import BlockMode
from ..pytorch_private import (
    dispatch_modes,
    eager_depth,
    mode_flags,
    pop_mode,
    push_mode,
    set_eager_depth,
    set_mode_flags,
)

_log = logging.getLogger(__name__)

# How often work that has to be done whole is begun anew after an interrupt.
_MOST_BEGINNINGS = 16


def to_the_end(work: Callable[[], Any]) -> None:
    """Do work that has to be done whole: an interrupt makes it begin anew, and is raised at its end."""
    interrupt: BaseException | None = None
    for _ in range(_MOST_BEGINNINGS):
        try:
            work()
            break
        except Exception:
            if interrupt is None:
                raise
            _log.exception("%s came while a block was ending, which met an error too", type(interrupt).__name__)
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class Standing:
    """Has a mode stand on this thread's stack from `__enter__` to `__exit__`, which may come in any thread."""

    def __init__(self, mode: BlockMode, find: replaced.Find | None, eager: bool):
        self.mode = mode
        self._find = find  # None: nothing is replaced in PyTorch meanwhile
        self._eager = eager  # whether compiled functions run the code that they were made from

    def __enter__(self) -> BlockMode:
        try:
            _of_thread.settle()
            if self._find is not None:
                replaced.put(self, self._find)
            _note(self.mode)
            _of_thread.begin(self.mode, self._eager)
        except BaseException:  # no `with` will call __exit__
            to_the_end(self._end)
            raise
        return self.mode

    def __exit__(self, *exception: Any) -> None:
        to_the_end(self._end)

    def _end(self) -> None:
        self.mode.end()
        _of_thread.settle()
        _forget(self.mode)
        replaced.put_back(self)


class _OfThread(threading.local):
    """The modes that stand on a thread's stack; those whose block another thread has ended among them."""

    def __init__(self) -> None:
        self.modes: dict[BlockMode, bool] = {}  # and whether compiled functions run eagerly under each
        self.outer_depth = 0

    def begin(self, mode: BlockMode, eager: bool) -> None:
        if not self.modes:
            self.outer_depth = eager_depth()
        self.modes[mode] = eager
        set_eager_depth(self.outer_depth + sum(self.modes.values()))
        push_mode(mode)

    def settle(self) -> None:
        """Take the modes off the stack whose block has ended."""
        if not any(mode.ended for mode in self.modes):
            return
        stack = dispatch_modes()
        first = next((n for n, mode in enumerate(stack) if _has_ended(mode)), len(stack))
        stay = [mode for mode in stack[first:] if not _has_ended(mode)]
        for _ in stack[first:]:
            pop_mode()
        for mode in stay:
            push_mode(mode)
        left = {mode: eager for mode, eager in self.modes.items() if not mode.ended}
        set_eager_depth(self.outer_depth + sum(left.values()))
        self.modes = left


_of_thread = _OfThread()


def _has_ended(mode: Any) -> bool:
    return isinstance(mode, BlockMode) and mode.ended


# PyTorch notes for the whole process that a mode is active. Each of its modes puts back what it found, which is right
# only if they end in order; those of two threads need not.
_lock = new_lock()
_modes: set[BlockMode] = set()
_flags_before: tuple[bool, ...] = ()


def _note(mode: BlockMode) -> None:
    global _flags_before
    with _lock:
        if not _modes:
            _flags_before = mode_flags()
        _modes.add(mode)
        set_mode_flags((True,) * len(_flags_before))


def _forget(mode: BlockMode) -> None:
    with _lock:
        if mode in _modes:
            if len(_modes) == 1:
                set_mode_flags(_flags_before)
            _modes.discard(mode)
