"""The emulated device and the ttnn-like API that lowerings are given on it."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch
import ttnn

from ...forks import new_rlock
from ...on_demand import OnDemand
from ...settings import Settings
from .. import chip
from ..base import KeptWeights, Namespace, Value
from .as_ttnn import EmulatedHandle
from .moves import moves
from .operation import make_operation
from .tensor import EmulatedTensor, stored
from .weights import EmulatedForms, FromFile


class EmulatedDevice:
    """Stands for a chip of `arch`; with `validate`, every call is also made on a mocked one."""

    name = "emulated"

    def __init__(self, settings: Settings, ttnn_version: str):
        self.arch, self.ttnn_version, self.validated = settings.arch, ttnn_version, settings.validate
        self._mock = chip.open_mock(settings, ttnn_version) if settings.validate else None
        self.lock = self._mock.lock if self._mock is not None else new_rlock()  # ttnn is for one thread at a time
        self.weights = None if settings.validate else EmulatedForms()  # a file has no tensor of the mocked chip
        self.chip_numerics = settings.numerics == "chip"
        self.tt = EmulatedApi(self._mock, settings.numerics, settings.arch)
        self.programs = self._mock.programs if self._mock is not None else None  # each session estimates its own

    def upload(self, host: torch.Tensor, dtype: str, row_major: bool = False) -> Value:
        """See `Device.upload`."""
        ttnn_dtype = getattr(self.tt, dtype)
        twin = self._mock.upload(host, dtype, row_major) if self._mock is not None else None
        layout = self.tt.ROW_MAJOR_LAYOUT if row_major else self.tt.TILE_LAYOUT
        return EmulatedTensor(stored(host, ttnn_dtype, copy=True), ttnn_dtype, layout, twin)

    def upload_from(
        self, shape: tuple[int, ...], dtype: str, row_major: bool, read: Callable[[], torch.Tensor]
    ) -> Value:
        """As `upload`, of a tensor in a file that nobody changes, which is read when a call first needs it."""
        if self._mock is not None:
            return self.upload(read(), dtype, row_major)
        layout = self.tt.ROW_MAJOR_LAYOUT if row_major else self.tt.TILE_LAYOUT
        return FromFile(shape, getattr(self.tt, dtype), layout, read)

    def download(self, value: Value) -> torch.Tensor:
        """See `Device.download`."""
        return value.data

    def close(self) -> None:
        """Close the mocked chip, if there is one."""
        if self._mock is not None:
            self._mock.close()


class KeptKernel(KeptWeights):
    """Keeps a kernel as it is, because golden functions take no prepared ones."""

    def __init__(self) -> None:
        super().__init__()
        self._kernel: EmulatedTensor | None = None

    def whole(self, kernel: EmulatedTensor | OnDemand) -> EmulatedTensor:
        """The kernel on the device."""
        if not isinstance(kernel, OnDemand):
            return kernel
        if self._kernel is None:
            self._kernel = kernel.bring()
        return self._kernel

    def values(self) -> list[Value]:
        """As `KeptWeights.values`; a kernel counts as the matrix that a chip would hold in its place."""
        kernel, prepared = self._kernel, super().values()
        if kernel is None or prepared:
            return prepared
        matrix = kernel.data.reshape(kernel.data.shape[0], -1).T
        return [EmulatedTensor(matrix, kernel.dtype, ttnn.TILE_LAYOUT)]


def _with_kept_kernel(conv2d: Callable[..., Value]) -> Callable[..., Value]:
    def call(*, kept: KeptKernel, weight_tensor: EmulatedTensor | OnDemand, **arguments: Any) -> Value:
        return conv2d(kept=kept, weight_tensor=kept.whole(weight_tensor), **arguments)

    return call


class EmulatedApi:
    """The ttnn module as lowerings see it: operations emulated, everything else ttnn's own."""

    KeptWeights = KeptKernel

    def __init__(self, mock: chip.Chip | None, numerics: str, arch: str = "wormhole_b0"):
        self._mock, self._numerics = mock, numerics
        self.device = mock.tt.device if mock is not None else None
        self.handle = EmulatedHandle(arch, self.device)
        vars(self).update(moves(mock))

    def __getattr__(self, name: str) -> Any:
        attribute = attrgetter(name)(ttnn)
        if isinstance(attribute, ModuleType):
            attribute = Namespace(self, name)
        elif callable(attribute) and not isinstance(attribute, type):
            attribute = make_operation(name, attribute, self._mock, self._numerics)
            attribute = _with_kept_kernel(attribute) if name == "conv2d" else attribute
        setattr(self, name, attribute)
        return attribute
