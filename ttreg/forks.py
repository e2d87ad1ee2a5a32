"""What a forked process does with what it inherits: locks are free, and objects that need more are told."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class Heir(Protocol):
    """What has to know that it is in a forked process."""

    def forked(self) -> None:
        """Called in the forked process, before anything else runs there."""
        ...


_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_heirs: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """A lock that is free in a forked process, also if another thread of its parent held it."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def new_rlock() -> threading.RLock:
    """As `new_lock`, one that its holder can take again."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def tell(heir: Heir) -> None:
    """Have the object told in forked processes, as long as it lives."""
    _heirs.add(heir)


def _forked() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()
    for heir in list(_heirs):
        try:
            heir.forked()
        except Exception:  # the others have to know all the same
            _log.exception("%r could not be told that it is in a forked process", heir)


os.register_at_fork(after_in_child=_forked)
