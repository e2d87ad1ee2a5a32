"""Holds that the weights whose uploads are part of a recording are as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ..memory.fingerprint import Fingerprint, fingerprint, same
from ..memory.watch import Watched, storage_of, watch
from ..modes import without_modes
from ..pytorch_private import PARAMETERS_HOLDERS, storage_use_count
from .words import External


class Weights:
    """Uploaded weights.

    Like an upload, each holds while its version stands still and nobody else has its memory; or, in a session that does
    not see all writes, while its content stays the same.
    """

    def __init__(self, externals: Iterable[External]):
        self._kept: list[tuple[torch.Tensor, int, torch.UntypedStorage, Watched, int, str]] = []
        self._marked: list[tuple[torch.Tensor, torch.UntypedStorage, Fingerprint, str]] = []
        for external in externals:
            tensor, storage = external.tensor, storage_of(external.tensor)
            if external.mark is not None:
                self._marked.append((tensor, storage, external.mark, external.name))
                continue
            watched = watch(storage)
            self._kept.append((tensor, tensor._version, storage, watched, watched.changes, external.name))

    def changed(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The names of the weights that may have changed, and these weights."""
        for tensor, version, storage, watched, changes, name in self._kept:
            if (
                tensor._version != version
                or watched.changes != changes
                or storage_use_count(storage._cdata) > PARAMETERS_HOLDERS
                or storage_of(tensor) is not storage
                or not storage.resizable()
            ):
                yield name, tensor
        with without_modes():
            other = [
                (name, tensor)
                for tensor, storage, mark, name in self._marked
                if storage_of(tensor) is not storage or not same(mark, fingerprint(tensor))
            ]
        yield from other
