"""Weights of the emulated device in files: values as the device holds them, which are mapped and not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import ttnn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..base import ttnn_dtype_name
from .tensor import EmulatedTensor, stored

_ROWS, _TILES = "rows", "tiles"


class EmulatedForms:
    """See `WeightForms`: one tensor to a safetensors file, with its ttnn dtype and layout."""

    kind, suffix = "emulated", ".safetensors"

    def converts(self, host: torch.dtype, dtype: str, row_major: bool, content_known: bool) -> bool:
        """See `WeightForms.converts`: in its own dtype, a value is the weight as it is."""
        return getattr(torch, dtype, None) is not host

    def prepare(self, host: torch.Tensor, dtype: str, row_major: bool) -> EmulatedTensor:
        """See `WeightForms.prepare`."""
        held = getattr(ttnn, dtype)
        return EmulatedTensor(stored(host, held, copy=True), held, _layout(row_major))

    def save(self, prepared: EmulatedTensor, path: Path) -> None:
        """See `WeightForms.save`."""
        # The dtype of the device is the name, since safetensors writes what else it is told in any order.
        layout = _ROWS if prepared.layout == ttnn.ROW_MAJOR_LAYOUT else _TILES
        save_file({f"{ttnn_dtype_name(prepared)} {layout}": prepared.data.contiguous()}, path)

    def load(self, path: Path) -> EmulatedTensor:
        """See `WeightForms.load`."""
        try:
            opened: Any = safe_open(str(path), framework="pt")
            (form,) = opened.keys()
            dtype, layout = form.split()
            return EmulatedTensor(opened.get_tensor(form), getattr(ttnn, dtype), _layout(layout == _ROWS))
        except (SafetensorError, AttributeError) as error:
            raise ValueError(f"{path}: {error}") from None


class FromFile(EmulatedTensor):
    """A tensor whose values are read from the file of a model, and rounded, when a call first needs them."""

    __slots__ = ("_made", "_read", "_shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, layout: Any, read: Callable[[], torch.Tensor]):
        self._read: Callable[[], torch.Tensor] | None = read
        self._shape, self._made = shape, torch.empty(0, dtype=torch.float32)
        self.dtype, self.layout, self.twin = dtype, layout, None

    @property
    def data(self) -> torch.Tensor:  # type: ignore[override]
        """The values; in the dtype of the file, they stay where the file is mapped."""
        read = self._read
        if read is not None:
            self._made, self._read = stored(read(), self.dtype), None
        return self._made

    @property
    def shape(self) -> Any:
        """See `EmulatedTensor.shape`."""
        return ttnn.Shape(list(self._shape))


def _layout(row_major: bool) -> Any:
    return ttnn.ROW_MAJOR_LAYOUT if row_major else ttnn.TILE_LAYOUT
