"""What a program may ask of a tensor of the emulated device, by the names that `ttnn.Tensor` has."""

from __future__ import annotations

import math
from typing import Any

import torch
import ttnn

from ..redirect import OfEmulated, current_api


class EmulatedHandle(OfEmulated):
    """What `tensor.device()` gives: `ttnn` functions that get it as their device run on the emulated one.

    Of a session that validates, `real` is the mocked chip.
    """

    def __init__(self, arch: str, real: Any):
        self._arch, self.real = arch, real

    def arch(self) -> Any:
        """The architecture, as ttnn names it."""
        return getattr(ttnn.device.Arch, self._arch.upper())

    def compute_with_storage_grid_size(self) -> Any:
        """The cores of the board that the device stands for."""
        if self.real is not None:
            return self.real.compute_with_storage_grid_size()
        return ttnn.CoreCoord(8, 8) if self._arch == "wormhole_b0" else ttnn.CoreCoord(13, 10)

    def __repr__(self) -> str:
        return f"<the emulated {self._arch}>"


class AsTtnn(OfEmulated):
    """The methods and operators of `ttnn.Tensor`, by the functions of `ttnn` that do the same."""

    __slots__ = ()

    data: torch.Tensor
    dtype: Any
    layout: Any
    twin: Any

    def __add__(self, other: Any) -> Any:
        return ttnn.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return ttnn.add(self, other)

    def __sub__(self, other: Any) -> Any:
        return ttnn.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return ttnn.rsub(self, other)

    def __mul__(self, other: Any) -> Any:
        return ttnn.multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return ttnn.multiply(self, other)

    def __truediv__(self, other: Any) -> Any:
        return ttnn.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return ttnn.rdiv(self, other)

    def __matmul__(self, other: Any) -> Any:
        return ttnn.matmul(self, other)

    def __eq__(self, other: object) -> Any:
        return ttnn.eq(self, other)

    def __ne__(self, other: object) -> Any:
        return ttnn.ne(self, other)

    def __gt__(self, other: Any) -> Any:
        return ttnn.gt(self, other)

    def __ge__(self, other: Any) -> Any:
        return ttnn.ge(self, other)

    def __lt__(self, other: Any) -> Any:
        return ttnn.lt(self, other)

    def __le__(self, other: Any) -> Any:
        return ttnn.le(self, other)

    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> Any:
        return ttnn.Tensor.__getitem__(self, index)

    def device(self) -> Any:
        """The device, which `ttnn` functions take as theirs; None outside of its block."""
        api = current_api()
        return None if api is None else api.handle

    def reshape(self, *shape: Any) -> Any:
        """`ttnn.reshape`."""
        return ttnn.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def to_torch(self) -> torch.Tensor:
        """`ttnn.to_torch`."""
        return ttnn.to_torch(self)

    def cpu(self) -> Any:
        """The tensor itself: the emulated device has the host's memory."""
        return self

    def item(self) -> Any:
        """The number of a tensor of one element."""
        return ttnn.to_torch(self).item()

    def to_list(self) -> Any:
        """The numbers."""
        return ttnn.to_torch(self).tolist()

    def deallocate(self, force: bool = True) -> None:
        """Nothing: Python frees the memory."""

    def is_allocated(self) -> bool:
        """Whether it has memory, which it always has."""
        return True

    def is_sharded(self) -> bool:
        """Whether a chip would hold it in shards, which the emulation does not follow."""
        return False

    def storage_type(self) -> Any:
        """Where the tensor is: on the device."""
        return ttnn.StorageType.DEVICE

    def memory_config(self) -> Any:
        """The memory that a chip would hold it in, where a mocked one is called beside; else its DRAM."""
        return ttnn.DRAM_MEMORY_CONFIG if self.twin is None else self.twin.memory_config()

    def get_dtype(self) -> Any:
        """The ttnn dtype."""
        return self.dtype

    def get_layout(self) -> Any:
        """The layout."""
        return self.layout

    @property
    def padded_shape(self) -> Any:
        """The shape with its last two dimensions padded to whole tiles, in tile layout."""
        shape = list(self.data.shape)
        if self.layout == ttnn.TILE_LAYOUT:
            shape = [1] * (2 - len(shape)) + shape
            shape[-2:] = [-(-size // 32) * 32 for size in shape[-2:]]
        return ttnn.Shape(shape)

    def logical_volume(self) -> int:
        """How many elements it has."""
        return self.data.numel()

    def volume(self) -> int:
        """How many elements it has, with padding."""
        return math.prod(self.padded_shape)
