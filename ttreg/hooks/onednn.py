"""Keeps PyTorch from running a whole layer in oneDNN, so that the layer arrives as ops that the device may run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_users = 0
_enabled = True


@contextmanager
def without_onednn() -> Iterator[None]:
    """Switch oneDNN off while the context is open in any thread: the switch is the process's own."""
    global _users, _enabled
    with _lock:
        if not _users:
            _enabled = torch._C._get_mkldnn_enabled()
            torch._C._set_mkldnn_enabled(False)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                torch._C._set_mkldnn_enabled(_enabled)
