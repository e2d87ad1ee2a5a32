"""What a recorded function does to tensors of the host without an aten call.

Methods of tensors are replaced while a function is recorded. A mode that sees functions would not do: PyTorch takes
other paths under one, through `nn.MultiheadAttention` for example.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from ..forks import new_lock
from ..memory import reads
from ..memory.tensor import DeviceTensor
from .tape import Tape
from .words import content

_READS = ("tolist", "__repr__")
_GIVES_AWAY = (
    "numpy",
    "__array__",
    "__dlpack__",
    "data_ptr",
    "untyped_storage",
    "storage",
    "apply_",
    "map_",
    "set_",
    "share_memory_",
    "__deepcopy__",
    "__reduce_ex__",
    "requires_grad_",
    "__setstate__",
)
_ATTRIBUTES = ("data", "requires_grad")  # whose setting no op shows

_lock = new_lock()
_open = 0
_before: list[tuple[str, Any, bool]] = []


@contextmanager
def plain_reads() -> Iterator[None]:
    """While open, the tape of a thread learns what the thread's program does to tensors of the host unseen."""
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            for name in (*_READS, *_GIVES_AWAY):
                _put(name, _method(getattr(torch.Tensor, name), name))
            for name in _ATTRIBUTES:
                _put(name, _attribute(getattr(torch.Tensor, name), name))
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            while not _open and _before:
                name, value, was_own = _before.pop()
                if was_own:
                    setattr(torch.Tensor, name, value)
                else:
                    delattr(torch.Tensor, name)


def _put(name: str, value: Any) -> None:
    own = vars(torch.Tensor)
    _before.append((name, own.get(name), name in own))
    setattr(torch.Tensor, name, value)


def _method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(function)
    def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        tape = _tape_of(tensor)
        if tape is not None and name in _READS:
            tape.read(content, tape.plain(tensor), outcome=content(tensor))
        elif tape is not None:
            tape.fail(f"it calls {name} of a tensor of the host, which no replay would see")
        return function(tensor, *args, **kwargs)

    return call


def _attribute(found: Any, name: str) -> property:
    def assign(tensor: Any, value: Any) -> None:
        tape = _tape_of(tensor)
        if tape is not None:
            tape.fail(f"it sets {name} of a tensor of the host, which no replay would see")
        found.__set__(tensor, value)

    return property(found.__get__, assign, doc=found.__doc__)


def _tape_of(tensor: Any) -> Tape | None:
    """What records the program that calls a method of a tensor of the host; None if ttreg itself calls it."""
    tape = reads.of_thread.reader
    if not isinstance(tape, Tape) or isinstance(tensor, DeviceTensor) or not tape.on() or tape.in_calls:
        return None
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return None if caller.partition(".")[0] == "ttreg" else tape
