"""Prepares a forked process: the locks that it inherits are free, and registered objects learn of the fork."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class Heir(Protocol):
    """An object that has to know that it is in a forked process."""

    def forked(self) -> None:
        """Called in the forked process, before anything else runs there."""
        ...


_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_heirs: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """A lock that is free in a forked process, even if a thread of the parent held it."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def new_rlock() -> threading.RLock:
    """As `new_lock`, but its holder can take it again."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def tell(heir: Heir) -> None:
    """Call the object's `forked` in each forked process, as long as the object lives."""
    _heirs.add(heir)


def heirs() -> list[Any]:
    """The living objects that were registered by `tell`."""
    return list(_heirs)


def _forked() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()
    for heir in list(_heirs):
        try:
            heir.forked()
        except Exception:  # the other objects still have to know
            _log.exception("%r could not be told that it is in a forked process", heir)


os.register_at_fork(after_in_child=_forked)
