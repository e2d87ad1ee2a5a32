"""Holds that the weights whose uploads are part of a recording are as they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..memory.watch import Watched, storage_of, watch
from ..pytorch_private import PARAMETERS_HOLDERS, storage_use_count
from .words import External


class Weights:
    """Uploaded weights. Like an upload, each holds while its version stands still and nobody else has its memory."""

    def __init__(self, externals: Iterable[External]):
        self._kept: list[tuple[torch.Tensor, int, torch.UntypedStorage, Watched, int, str]] = []
        for external in externals:
            tensor, storage = external.tensor, storage_of(external.tensor)
            watched = watch(storage)
            self._kept.append((tensor, tensor._version, storage, watched, watched.changes, external.name))

    def changed(self) -> tuple[str, Any]:
        """The name of a weight that may have changed, and the weight; two empty ones if none has."""
        for tensor, version, storage, watched, changes, name in self._kept:
            if (
                tensor._version != version
                or watched.changes != changes
                or storage_use_count(storage._cdata) > PARAMETERS_HOLDERS
                or storage_of(tensor) is not storage
                or not storage.resizable()
            ):
                return name, tensor
        return "", None
