"""Content that a program makes of numbers alone: zeros, say, with other numbers in some of their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..devices.base import Value
from ..meta import Meta
from ..modes import without_any_modes


class Numbers:
    """Makes the device value of a tensor of one number when it is first needed; until then, parts may get other ones.

    The host knows such content, so it writes those numbers itself, and what they come to is uploaded once.
    """

    def __init__(self, root: Meta, number: Any, make: Callable[[], Value], upload: Callable[[torch.Tensor], Value]):
        self.root, self._number = root, number
        self._make, self._upload = make, upload
        self._written: torch.UntypedStorage | None = None

    def fill(self, meta: Meta, number: Any) -> bool:
        """Write a number to a part, or to the whole; whether it lies in this content."""
        if meta.dtype is not self.root.dtype or meta.end > self.root.nbytes:
            return False
        with without_any_modes():
            meta.on_storage(self.on_host()).fill_(number)
        return True

    def on_host(self) -> torch.UntypedStorage:
        """The content in the host's memory, where numbers are written to it from now on."""
        with without_any_modes():
            if self._written is None:
                self._written = torch.UntypedStorage(self.root.nbytes)
                self.root.on_storage(self._written).fill_(self._number)
        return self._written

    def __call__(self) -> Value:
        if self._written is None:
            return self._make()
        with without_any_modes():
            return self._upload(self.root.on_storage(self._written))
