"""Keeps PyTorch from running a whole layer in oneDNN, so that the layer arrives as ops that the device may run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..forks import new_lock
from ..pytorch_private import get_mkldnn_enabled, set_mkldnn_enabled, tree_leaves, tree_map_only

_lock = new_lock()
_users = 0
_enabled = True


@contextmanager
def without_onednn() -> Iterator[bool]:
    """Switch oneDNN off while the context is open in any thread: the switch is the process's own.

    Gives whether it was on.
    """
    global _users, _enabled
    with _lock:
        if not _users:
            _enabled = get_mkldnn_enabled()
            set_mkldnn_enabled(False)
        _users += 1
        enabled = _enabled
    try:
        yield enabled
    finally:
        with _lock:
            _users -= 1
            if not _users:
                set_mkldnn_enabled(_enabled)


def in_autocasts_dtype(lstm: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """`torch.lstm(...)`, whose results have autocast's dtype where oneDNN would have run the layer as a whole.

    In steps, the cell's state would raise them to float32.
    """
    if not torch.is_autocast_enabled("cpu") or not _is_onednns(*args):
        return lstm(*args, **kwargs)
    dtype = torch.get_autocast_dtype("cpu")
    args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to(dtype), (args, kwargs))
    with torch.autocast("cpu", enabled=False):
        return lstm(*args, **kwargs)


def _is_onednns(data: torch.Tensor, states: Any, *more: Any) -> bool:
    """Whether oneDNN takes a layer with these arguments: neither packed sequences nor projections."""
    if isinstance(states, torch.Tensor) or states[0].shape != states[1].shape:
        return False
    return all(
        leaf.dtype is torch.float32 for leaf in tree_leaves((data, states, more)) if isinstance(leaf, torch.Tensor)
    )
