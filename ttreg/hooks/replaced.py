"""Functions of PyTorch that are replaced while a block is open, since no aten call shows what they do.

A `TorchFunctionMode` would see them as well, and every other call, each of which it makes two microseconds slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, wraps
from typing import Any, Protocol

import torch

from ..forks import new_lock
from ..memory import watch
from ..memory.tensor import DeviceTensor
from ..pytorch_private import HigherOrderOperator, find_builtin, layers, register_builtin, tensor_data
from ..runtime.session import Session
from . import encoders, higher_order, kernels, subclasses
from .onednn import in_autocasts_dtype, without_onednn


class Block(Protocol):
    """What handles the calls of a thread: the mode of a block, and its session."""

    session: Session

    def __call__(self) -> AbstractContextManager[Any]:
        """A context whose calls it handles."""
        ...


Find = Callable[[], Block | None]  # the block that handles this thread's calls
Make = Callable[[Callable[..., Any], Find], Callable[..., Any]]  # from the function itself, what stands in for it


def _untrusted(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """The function gives a tensor's memory away, or writes to it without a dispatch: uploads of it may be stale."""

    def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, DeviceTensor) and tensor.layout is torch.strided:
            watch.given_away(tensor)
        return function(tensor, *args, **kwargs)

    return call


def _in_steps(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """oneDNN would run the layer as a whole, with the host's weights."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if find() is None:
            return function(*args, **kwargs)
        with without_onednn() as enabled:
            return function(*args, **kwargs) if not enabled else in_autocasts_dtype(function, args, kwargs)

    return call


def _control_flow(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """Before autograd gets them, which would trace what they are given."""

    def call(op: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
        block = find() if op.name() in higher_order.CONTROL_FLOW else None
        return function(op, *args, **kwargs) if block is None else higher_order.run(op, args, kwargs, block)

    return call


_REPLACED: tuple[tuple[Any, str, Make], ...] = (
    (torch.Tensor, "data_ptr", _untrusted),
    (torch.Tensor, "__dlpack__", _untrusted),
    (torch.Tensor, "apply_", _untrusted),
    (torch.Tensor, "map_", _untrusted),
    (torch.Tensor, "map2_", _untrusted),
    (torch, "lstm", _in_steps),
    (layers, "lstm", _in_steps),
    (torch.nn.TransformerEncoder, "forward", encoders.forward),
    (torch, "_nested_tensor_from_mask", encoders.nested_tensor_from_mask),
    (torch, "_nested_tensor_from_mask_left_aligned", encoders.is_left_aligned),
    (HigherOrderOperator, "__call__", _control_flow),
)


def _plain_data(tensor: torch.Tensor, data: Any) -> None:
    """`tensor.data = data` copies the C++ side of `data` without a dispatch: a plain tensor gets plain memory."""
    if isinstance(data, DeviceTensor) and not isinstance(tensor, DeviceTensor):
        data = data.host()
    watch.all_written((tensor, data))  # whose counters of versions now mean something else
    _DATA.__set__(tensor, data)


_DATA: Any = tensor_data

_lock = new_lock()
_open = 0
_before: list[tuple[Any, str, Any, bool, Any]] = []


@contextmanager
def replaced(find: Find) -> Iterator[None]:
    """Have the functions replaced while the context is open in any thread; `find` tells for each call whose it is."""
    global _open
    with _lock:
        if not _open:
            try:
                _put_all(find)
            except BaseException:
                _put_all_back()
                raise
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _put_all_back()


def _put_all(find: Find) -> None:
    kernels.put_in_place(find)
    subclasses.put_in_place()
    for owner, name, make in _REPLACED:
        function = getattr(owner, name)
        if function not in _replacements:  # or another library has put one back after the block it was found in
            _put(owner, name, _replacement(owner, name, function, make, find))
    _replace_data()


def _put_all_back() -> None:
    while _before:
        _put_back(*_before.pop())


@cache
def _replace_data() -> None:
    # For good: after the block too, a read of what `plain.data = tensor` made would end the process.
    torch.Tensor.data = property(_DATA.__get__, _plain_data, doc=_DATA.__doc__)  # type: ignore[assignment]


_replacements: set[Callable[..., Any]] = set()


@cache  # for good, since what `torch.jit.script` knows of a function goes by its identity
def _replacement(owner: Any, name: str, function: Callable[..., Any], make: Make, find: Find) -> Callable[..., Any]:
    replacement: Any = wraps(function)(make(function, find))
    # Where it stands, so that it can be pickled, as the function itself.
    replacement.__module__ = owner.__module__ if isinstance(owner, type) else owner.__name__
    replacement.__qualname__ = f"{owner.__qualname__}.{name}" if isinstance(owner, type) else name
    _replacements.add(replacement)
    operator = find_builtin(function)
    if operator is not None:  # a call of the replacement is scripted as one of the built-in function
        register_builtin(replacement, operator)
    return replacement


def _put(owner: Any, name: str, value: Any) -> None:
    own = vars(owner)
    _before.append((owner, name, own.get(name), name in own, value))
    setattr(owner, name, value)


def _put_back(owner: Any, name: str, value: Any, was_own: bool, replacement: Any) -> None:
    if vars(owner).get(name) is not replacement:  # another library has since put its own in the place
        return
    if was_own:
        setattr(owner, name, value)
    else:
        delattr(owner, name)
