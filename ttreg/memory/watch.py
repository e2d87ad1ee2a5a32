"""Watches host memory that sessions have uploaded: a change that one session sees reaches all sessions."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from ..call import bind_arguments
from ..meta import is_plain
from ..pytorch_private import DisableTorchFunctionSubclass, OpOverload, TensorBase, tree_leaves
from ..schema import written_arguments

_storage_of = TensorBase.untyped_storage  # `DeviceTensor` has one that downloads


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The storage of a tensor of any type, without a call of the type's own `__torch_function__`."""
    kind = type(tensor)
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return _storage_of(tensor)
    with DisableTorchFunctionSubclass():
        return _storage_of(tensor)


def storage_look_up(tensors: Iterable[torch.Tensor]) -> Callable[[torch.Tensor], torch.UntypedStorage]:
    """`storage_of`, or what is faster and does the same for all of these tensors."""
    return _storage_of if {type(tensor) for tensor in tensors} <= {torch.Tensor, torch.nn.Parameter} else storage_of


class Uploaded(Protocol):
    """What one session keeps for a storage."""

    def drop(self) -> None:
        """Drop it."""
        ...


class Watched:
    """What the process knows about one storage, while the storage lives."""

    def __init__(self, storage: torch.UntypedStorage):
        key = storage._cdata
        self.reference = weakref.ref(storage, lambda _: _gone(key))
        self.uploads: list[Uploaded] = []
        self.changes = 0  # writes that were seen
        self.given_away = False  # then writes may go unseen, and the version counter proves nothing
        self.of_file = False  # the memory of a mapped file, which PyTorch makes unresizable as it does NumPy's

    def is_shared(self, storage: torch.UntypedStorage) -> bool:
        """Whether NumPy or other code than PyTorch's may have the storage's memory."""
        return self.given_away or not (self.of_file or storage.resizable())

    def changed(self) -> None:
        """Make every session drop its uploads; one that is under way is not kept either."""
        self.changes += 1
        for uploaded in list(self.uploads):
            uploaded.drop()


class _OfThread(threading.local):
    uploading = False


_of_thread = _OfThread()


@contextmanager
def uploading() -> Iterator[None]:
    """While open, addresses that this thread asks for go to the device's library only, and not to the program."""
    _of_thread.uploading = True
    try:
        yield
    finally:
        _of_thread.uploading = False


_watched: dict[int, Watched] = {}


def _gone(key: int) -> None:
    watched = _watched.pop(key, None)
    if watched is not None:
        watched.changed()


def watch(storage: torch.UntypedStorage) -> Watched:
    """Watch the storage from now on; return what is known about it."""
    key = storage._cdata
    watched = _watched.get(key)
    if watched is not None and watched.reference() is not storage:  # an interrupt kept its end from being noted
        _gone(key)
        watched = None
    return watched if watched is not None else _watched.setdefault(key, Watched(storage))


def is_of_file(tensor: torch.Tensor) -> bool:
    """Whether the tensor's memory is that of a mapped file."""
    watched = _watched.get(storage_of(tensor)._cdata)
    return watched is not None and watched.of_file


def written(tensor: torch.Tensor) -> None:
    """Note that the memory of a plain tensor was written to."""
    watched = _watched.get(storage_of(tensor)._cdata)
    if watched is not None:
        watched.changed()


def given_away(tensor: torch.Tensor) -> None:
    """Note that code other than a device's has the tensor's memory, and may write to it at any time."""
    if _of_thread.uploading:
        return
    watched = watch(storage_of(tensor))
    watched.given_away = True
    watched.changed()


def written_by(op: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Note what a call of the op may have written to, for tensors of any kind."""
    names = written_arguments(op)
    if names:
        bound = bind_arguments(op, args, kwargs)
        all_written(tree_leaves([bound[name] for name in names]))


def passing(op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a call that no session handles, and note what it writes to."""
    try:
        return op(*args, **kwargs)
    finally:  # an op that raises may have written already
        if isinstance(op, OpOverload) and op._schema.is_mutable:
            written_by(op, args, kwargs)


def all_written(values: Iterable[Any]) -> None:
    """Note that the tensors among the values may have been written to."""
    for value in values:
        if isinstance(value, torch.Tensor):
            for part in _with_memory(value):
                written(part)


def _with_memory(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors whose memory holds the tensor's data."""
    if is_plain(tensor):
        return [tensor]
    if tensor.layout is torch.sparse_coo:
        return [tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        return [tensor.values()]
    try:
        storage_of(tensor)
    except (NotImplementedError, RuntimeError):  # it has no storage of its own: writes go to other tensors
        return []
    return [tensor]
