"""Replaces functions of PyTorch while a block is open, since no aten call shows what they do.

A `TorchFunctionMode` would see these functions too. But it sees every call, and makes each two microseconds slower.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, Protocol

import torch

from ..forks import new_lock
from ..memory import watch
from ..memory.tensor import DeviceTensor
from ..pytorch_private import HigherOrderOperator, find_builtin, layers, register_builtin, tensor_data
from ..runtime.session import Session
from . import composite, encoders, higher_order, kernels, subclasses, whole
from .onednn import in_autocasts_dtype, without_onednn


class Block(Protocol):
    """The mode of a block, which handles the calls of a thread for its session."""

    session: Session

    def __call__(self) -> AbstractContextManager[Any]:
        """A context in which the block handles the calls."""
        ...


Find = Callable[[], Block | None]  # the block that handles this thread's calls
Make = Callable[[Callable[..., Any], Find], Callable[..., Any]]  # makes the replacement of a function


def _untrusted(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """For functions that expose a tensor's memory or write to it without a dispatch: its uploads may be stale."""

    def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, DeviceTensor) and tensor.layout is torch.strided:
            watch.given_away(tensor)
        return function(tensor, *args, **kwargs)

    return call


def _of_file(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """As `_untrusted`, for memory of a mapped file: of any other, its storage tells that NumPy has it."""

    def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, DeviceTensor) and tensor.layout is torch.strided and watch.is_of_file(tensor):
            watch.given_away(tensor)
        return function(tensor, *args, **kwargs)

    return call


def _in_steps(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """For layers that oneDNN would run as a whole on the host: run them step by step."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if find() is None:
            return function(*args, **kwargs)
        with without_onednn() as enabled:
            return function(*args, **kwargs) if not enabled else in_autocasts_dtype(function, args, kwargs)

    return call


def _control_flow(function: Callable[..., Any], find: Find) -> Callable[..., Any]:
    """Handle control flow here, before autograd does: autograd would trace the functions that they take."""

    def call(op: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
        block = find() if op.name() in higher_order.CONTROL_FLOW else None
        return function(op, *args, **kwargs) if block is None else higher_order.run(op, args, kwargs, block)

    return call


_REPLACED: tuple[tuple[Any, str, Make], ...] = (
    (torch.Tensor, "data_ptr", _untrusted),
    (torch.Tensor, "__dlpack__", _untrusted),
    (torch.Tensor, "numpy", _of_file),
    (torch.Tensor, "apply_", _untrusted),
    (torch.Tensor, "map_", _untrusted),
    (torch.Tensor, "map2_", _untrusted),
    (torch, "lstm", _in_steps),
    (layers, "lstm", _in_steps),
    (torch.nn.functional, "linear", whole.linear),
    (torch, "matmul", whole.matmul),
    (torch.Tensor, "matmul", whole.matmul),
    (torch.Tensor, "__matmul__", whole.matmul),
    (torch.nn.TransformerEncoder, "forward", encoders.forward),
    (torch, "_nested_tensor_from_mask", encoders.nested_tensor_from_mask),
    (torch, "_nested_tensor_from_mask_left_aligned", encoders.is_left_aligned),
    (HigherOrderOperator, "__call__", _control_flow),
)


def _plain_data(tensor: torch.Tensor, data: Any) -> None:
    """`tensor.data = data` copies the C++ side of `data` without a dispatch: a plain tensor gets plain memory."""
    if isinstance(data, DeviceTensor) and not isinstance(tensor, DeviceTensor):
        data = data.host()
    watch.all_written((tensor, data))  # their version counters no longer tell of earlier writes
    _DATA.__set__(tensor, data)


_DATA: Any = tensor_data

_lock = new_lock()
_open: list[Any] = []  # for whom the functions are replaced
_before: list[tuple[Any, str, Any, bool, Any]] = []


def put(owner: Any, find: Find) -> None:
    """Replace the functions until the last owner calls `put_back`; `find` gives the block of the calling thread."""
    with _lock:
        if not _open:
            try:
                _put_all(find)
            except BaseException:
                _put_all_back()
                raise
        _open.append(owner)


def put_back(owner: Any) -> None:
    """Put the functions back, if nobody else needs them replaced; after an interrupt, this may be called again."""
    with _lock:
        if owner in _open:
            if len(_open) == 1:
                _put_all_back()
            _open.remove(owner)


def _put_all(find: Find) -> None:
    kernels.find_block = composite.find_block = find
    kernels.put_in_place()
    subclasses.put_in_place()
    for owner, name, make in _REPLACED:
        function = getattr(owner, name)
        if function not in _replacements:  # another library may have put back a replacement it found
            _put(owner, name, _replacement(owner, name, function, make, find))
    _replace_data()


def _put_all_back() -> None:
    while _before:
        _put_back(*_before[-1])
        _before.pop()


@cache
def _replace_data() -> None:
    # This stays after the block. Without it, `plain.data = tensor` gives a tensor whose reading crashes the process.
    torch.Tensor.data = property(_DATA.__get__, _plain_data, doc=_DATA.__doc__)  # type: ignore[assignment]


_replacements: set[Callable[..., Any]] = set()


@cache  # kept for good, since `torch.jit.script` knows functions by identity
def _replacement(owner: Any, name: str, function: Callable[..., Any], make: Make, find: Find) -> Callable[..., Any]:
    replacement: Any = wraps(function)(make(function, find))
    # These name the place where the replacement stands, so that it can be pickled like the function itself.
    replacement.__module__ = owner.__module__ if isinstance(owner, type) else owner.__name__
    replacement.__qualname__ = f"{owner.__qualname__}.{name}" if isinstance(owner, type) else name
    _replacements.add(replacement)
    operator = find_builtin(function)
    if operator is not None:  # TorchScript then treats the replacement as the built-in function
        register_builtin(replacement, operator)
    return replacement


def _put(owner: Any, name: str, value: Any) -> None:
    own = vars(owner)
    _before.append((owner, name, own.get(name), name in own, value))
    setattr(owner, name, value)


def _put_back(owner: Any, name: str, value: Any, was_own: bool, replacement: Any) -> None:
    if vars(owner).get(name) is not replacement:  # another library has replaced it since
        return
    if was_own:
        setattr(owner, name, value)
    else:
        delattr(owner, name)
