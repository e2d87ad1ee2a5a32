"""Holds that the host tensors whose uploads are part of a recording are as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter, is_

import torch

from ..memory.fingerprint import fingerprint, same
from ..memory.uploads import is_parameter
from ..memory.watch import storage_look_up, storage_of, watch
from ..meta import CPU
from ..modes import without_any_modes, without_modes
from ..pytorch_private import PARAMETERS_HOLDERS, storage_use_count
from .words import External

_MOST_COMPARED = 1 << 20  # bytes of one tensor, which are compared at each call
_SMALL = 1 << 14  # bytes of a tensor: below, a comparison takes less time than the call of one

_version, _changes = attrgetter("_version"), attrgetter("changes")
_is_resizable, _nbytes = torch.UntypedStorage.resizable, torch.UntypedStorage.nbytes


def is_compared(tensor: torch.Tensor) -> bool:
    """Whether a tensor that is no parameter is small enough to be compared at each call."""
    return not is_parameter(tensor) and storage_of(tensor).nbytes() <= _MOST_COMPARED


def content_of(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of the bytes of a tensor's storage."""
    with without_modes():
        return _memory_of(storage_of(tensor)).clone()


class Weights:
    """Host tensors whose uploads a recording has.

    Like an upload, a parameter holds while its version stands still and nobody else has its memory; or, in a session
    that does not see all writes, while its content stays the same. Any other tensor, such as a buffer, may change
    unseen: its content is compared.
    """

    def __init__(self, externals: Iterable[External]):
        all_ = list(externals)
        self._compared = _Compared([(e.name, e.tensor, e.content) for e in all_ if e.content is not None])
        self._marked = [
            (external.tensor, storage_of(external.tensor), external.mark, external.name)
            for external in all_
            if external.content is None and external.mark is not None
        ]
        self._kept = _Kept([external for external in all_ if external.content is None and external.mark is None])

    def changed(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The names of the tensors that may have changed, and these tensors."""
        if not self._kept.hold():
            yield from self._kept.changed()
        with without_any_modes():
            other = [
                (name, tensor)
                for tensor, storage, mark, name in self._marked
                if storage_of(tensor) is not storage or not same(mark, fingerprint(tensor))
            ]
            if not self._compared.hold():
                other += self._compared.changed()
        yield from other


class _Kept:
    """Parameters. Their versions, and who has their memory, tell of each write."""

    def __init__(self, externals: list[External]):
        self._named = [(external.name, external.tensor) for external in externals]
        self._tensors = [tensor for _, tensor in self._named]
        self._storage_of = storage_look_up(self._tensors)
        self._storages = list(map(self._storage_of, self._tensors))
        self._addresses = [storage._cdata for storage in self._storages]
        self._watched = list(map(watch, self._storages))
        self._versions = list(map(_version, self._tensors))
        self._changes = list(map(_changes, self._watched))
        self._resizable = list(filter(_is_resizable, self._storages))  # all but those of mapped files

    def hold(self) -> bool:
        """Whether none can have changed, in a quick look at all."""
        return not self._tensors or (
            list(map(_version, self._tensors)) == self._versions
            and list(map(_changes, self._watched)) == self._changes  # memory that is given away counts as changed
            and max(map(storage_use_count, self._addresses)) <= PARAMETERS_HOLDERS
            and all(map(is_, map(self._storage_of, self._tensors), self._storages))
            and all(map(_is_resizable, self._resizable))
        )

    def changed(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Those that may have changed."""
        for place, (name, tensor) in enumerate(self._named):
            storage, watched = self._storages[place], self._watched[place]
            if (
                tensor._version != self._versions[place]
                or watched.changes != self._changes[place]
                or storage_use_count(storage._cdata) > PARAMETERS_HOLDERS
                or storage_of(tensor) is not storage
                or watched.is_shared(storage)
            ):
                yield name, tensor


class _Compared:
    """Tensors whose memory is compared with copies, that of small ones in one piece for each way to look at it."""

    def __init__(self, compared: list[tuple[str, torch.Tensor, torch.Tensor]]):
        self._all = compared
        self._storages = [storage_of(tensor) for _, tensor, _ in compared]
        self._sizes = [copy.nbytes for _, _, copy in compared]
        with without_any_modes():
            self._memories = list(map(_memory_of, self._storages))
            pairs = [(memory, copy) for memory, (_, _, copy) in zip(self._memories, compared, strict=True)]
            small = [pair for pair in pairs if pair[1].nbytes <= _SMALL]
            rows = [[pair for pair in small if pair[1].dtype is dtype] for dtype in (torch.int64, torch.uint8)]
            self._large = [pair for pair in pairs if pair[1].nbytes > _SMALL]
            self._rows = [([m for m, _ in row], torch.cat([copy for _, copy in row])) for row in rows if row]

    def hold(self) -> bool:
        """Whether none has changed. There has to be no mode."""
        # A storage that was resized may no longer have the memory that is looked at.
        return (
            list(map(_nbytes, self._storages)) == self._sizes
            and all(torch.equal(torch.cat(memories), copies) for memories, copies in self._rows)
            and all(torch.equal(memory, copy) for memory, copy in self._large)
        )

    def changed(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Those that have changed. There has to be no mode."""
        for place, (name, tensor, copy) in enumerate(self._all):
            if self._storages[place].nbytes() != copy.nbytes or not torch.equal(self._memories[place], copy):
                yield name, tensor


def _memory_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """What lies in a storage, as whole words if it has such: they are compared eight times as fast as bytes."""
    dtype = torch.uint8 if storage.nbytes() % 8 else torch.int64
    return torch.empty(0, dtype=dtype, device=CPU).set_(storage)
