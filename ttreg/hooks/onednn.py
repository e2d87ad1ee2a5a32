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
    """Switch oneDNN off while the context is open in any thread: there is one switch for the whole process.

    The context gives whether it was on.
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
    """`torch.lstm(...)` with results in autocast's dtype, in the cases where oneDNN would run the whole layer.

    Run step by step, the layer would give float32, since the cell's state promotes the results.
    """
    if not torch.is_autocast_enabled("cpu") or not _is_onednns(*args):
        return lstm(*args, **kwargs)
    dtype = torch.get_autocast_dtype("cpu")
    args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to(dtype), (args, kwargs))
    with torch.autocast("cpu", enabled=False):
        return lstm(*args, **kwargs)


def _is_onednns(data: torch.Tensor, states: Any, *more: Any) -> bool:
    """Whether oneDNN takes a layer with these arguments. It takes no packed sequences and no projections."""
    if isinstance(states, torch.Tensor) or states[0].shape != states[1].shape:
        return False
    return all(
        leaf.dtype is torch.float32 for leaf in tree_leaves((data, states, more)) if isinstance(leaf, torch.Tensor)
    )
