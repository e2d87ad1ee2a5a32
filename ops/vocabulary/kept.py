"""What lowerings make from sizes alone, kept for the next call with the same ones."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...modes import without_modes

# Of all that is kept: a program whose images all differ in size has new matrices for each.
MOST_BYTES = 1 << 26

_SMALLEST = 5e-324

_lock = threading.Lock()
_kept: OrderedDict[tuple, Any] = OrderedDict()  # the longest unused first
_bytes = 0


def from_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call the function once for each set of arguments, on the host, outside of every mode; what it made is kept.

    The function names the dtype of each tensor that it makes: PyTorch's default is the process's, and may change.
    """

    @functools.wraps(function)
    def made(*arguments: Any) -> Any:
        key = function, arguments
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
        with without_modes(), torch.inference_mode(False), torch.no_grad(), _with_denormals():
            result = function(*arguments)
        _keep(key, result)
        return result

    return made


@from_sizes
def one_number(value: float, dtype: torch.dtype, rank: int = 1) -> torch.Tensor:
    """A tensor of one element in so many dimensions, for `tt.constant`."""
    return torch.tensor(value, dtype=dtype).view([1] * rank)


@contextmanager
def _with_denormals() -> Iterator[None]:
    # Where a thread has them flushed to zero (`torch.set_flush_denormal`), so does Python; PyTorch does not tell.
    flushed = _SMALLEST == 0.0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)


def _keep(key: tuple, result: Any) -> None:
    global _bytes
    with _lock:
        _bytes += _size((key, result)) - (_size((key, _kept[key])) if key in _kept else 0)
        _kept[key] = result
        while _bytes > MOST_BYTES and len(_kept) > 1:
            _bytes -= _size(_kept.popitem(last=False))


def _size(result: Any) -> int:
    """About how many bytes it takes, with all that lies in it."""
    if isinstance(result, torch.Tensor):
        return 100 + result.nbytes
    return 100 + sum(map(_size, result)) if isinstance(result, tuple) else 32
