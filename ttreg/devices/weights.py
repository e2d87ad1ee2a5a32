"""Weights in a device's own form, outside of the device: prepared, written to a file, and brought to the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from .base import Value


class WeightForms(Protocol):
    """What a device that keeps weights in files offers as its attribute `weights`."""

    kind: str  # devices of one kind read each other's files, if they stand for the same chip
    suffix: str  # of the files

    def converts(self, host: torch.dtype, dtype: str, row_major: bool, content_known: bool) -> bool:
        """Whether a file saves work: a weight of that host dtype is converted, which takes longer than to read it.

        If its content is not known, a hash of it has to be taken first.
        """
        ...

    def prepare(self, host: torch.Tensor, dtype: str, row_major: bool) -> Any:
        """The tensor in the device's form, not on the device yet."""
        ...

    def save(self, prepared: Any, path: Path) -> None:
        """Write what `prepare` gave to a new file."""
        ...

    def load(self, path: Path) -> Value:
        """Bring a file's tensor to the device. Raises RuntimeError or ValueError for a file that is none of ttreg's."""
        ...


class TtnnForms:
    """Files of `ttnn.dump_tensor`: tiles and block floats as the chip holds them."""

    kind, suffix = "ttnn", ".tensorbin"

    def __init__(self, device: Any, refusal: Callable[[str, BaseException], Exception]):
        self._device, self._refusal = device, refusal

    def converts(self, host: torch.dtype, dtype: str, row_major: bool, content_known: bool) -> bool:
        """See `WeightForms.converts`: a hash takes as long as it takes to make tiles."""
        return _HELD.get(host) != dtype or (content_known and not row_major)

    def prepare(self, host: torch.Tensor, dtype: str, row_major: bool) -> Any:
        """See `WeightForms.prepare`."""
        import ttnn

        layout = ttnn.ROW_MAJOR_LAYOUT if row_major else ttnn.TILE_LAYOUT
        try:
            return ttnn.from_torch(host.contiguous(), dtype=getattr(ttnn, dtype), layout=layout)
        except (RuntimeError, TypeError) as error:
            raise self._refusal("ttnn.from_torch", error) from error

    def save(self, prepared: Any, path: Path) -> None:
        """See `WeightForms.save`."""
        import ttnn

        ttnn.dump_tensor(path, prepared)

    def load(self, path: Path) -> Value:
        """See `WeightForms.load`."""
        import ttnn

        prepared = ttnn.load_tensor(path)  # first, so that what fails below is not for a broken file
        try:
            return prepared.to(self._device)
        except RuntimeError as error:
            raise self._refusal("ttnn.to_device", error) from error


_HELD = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
