"""Holds that the host tensors whose uploads are part of a recording are as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ..memory.fingerprint import Fingerprint, fingerprint, same
from ..memory.uploads import is_parameter
from ..memory.watch import Watched, storage_of, watch
from ..meta import CPU
from ..modes import without_modes
from ..pytorch_private import PARAMETERS_HOLDERS, storage_use_count
from .words import External

_MOST_COMPARED = 1 << 20  # bytes of one tensor, which are compared at each call


def is_compared(tensor: torch.Tensor) -> bool:
    """Whether a tensor that is no parameter is small enough to be compared at each call."""
    return not is_parameter(tensor) and storage_of(tensor).nbytes() <= _MOST_COMPARED


def content_of(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of the bytes of a tensor's storage."""
    with without_modes():
        return _bytes_of(storage_of(tensor)).clone()


class Weights:
    """Host tensors whose uploads a recording has.

    Like an upload, a parameter holds while its version stands still and nobody else has its memory; or, in a session
    that does not see all writes, while its content stays the same. Any other tensor, such as a buffer, may change
    unseen: its content is compared.
    """

    def __init__(self, externals: Iterable[External]):
        self._kept: list[tuple[torch.Tensor, int, torch.UntypedStorage, Watched, int, str]] = []
        self._marked: list[tuple[torch.Tensor, torch.UntypedStorage, Fingerprint, str]] = []
        self._compared: list[tuple[torch.Tensor, torch.UntypedStorage, torch.Tensor, torch.Tensor, str]] = []
        for external in externals:
            tensor, storage = external.tensor, storage_of(external.tensor)
            if external.content is not None:
                with without_modes():
                    raw = _bytes_of(storage)
                self._compared.append((tensor, storage, raw, external.content, external.name))
            elif external.mark is not None:
                self._marked.append((tensor, storage, external.mark, external.name))
            else:
                watched = watch(storage)
                self._kept.append((tensor, tensor._version, storage, watched, watched.changes, external.name))

    def changed(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The names of the tensors that may have changed, and these tensors."""
        for tensor, version, storage, watched, changes, name in self._kept:
            if (
                tensor._version != version
                or watched.changes != changes
                or storage_use_count(storage._cdata) > PARAMETERS_HOLDERS
                or storage_of(tensor) is not storage
                or watched.is_shared(storage)
            ):
                yield name, tensor
        with without_modes():
            other = [
                (name, tensor)
                for tensor, storage, mark, name in self._marked
                if storage_of(tensor) is not storage or not same(mark, fingerprint(tensor))
            ]
            equal = torch.equal
            # A storage that was resized may no longer have the memory that `raw` shows.
            other += [
                (name, tensor)
                for tensor, storage, raw, before, name in self._compared
                if storage.nbytes() != before.nbytes or not equal(raw, before)
            ]
        yield from other


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=CPU).set_(storage)
