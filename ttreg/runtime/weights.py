"""How a weight comes to the device: from the cache on disk, from the file of a model, or prepared by the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..carriers import Carriers
from ..devices.base import Device, Value, ttnn_dtype_name
from ..memory.uploads import is_parameter
from ..settings import Settings
from .rounding import rounded

if TYPE_CHECKING:
    from ..devices.weights import WeightForms
    from ..weights.cache import WeightCache
    from ..weights.files import Stored

# Smaller weights are prepared in less time than a file takes.
_LEAST_BYTES = 1 << 14

Ready = Callable[[torch.Tensor], torch.Tensor]


class Uploader(Protocol):
    """What is asked of a session."""

    device: Device
    carriers: Carriers
    weights: Weights

    def _upload(
        self,
        plain: torch.Tensor,
        carrier: str,
        weight: bool,
        row_major: bool = False,
        move: Callable[[], Value] | None = None,
    ) -> Value:
        """Upload a tensor, and count that."""


class Weights:
    """What a session knows of weights that lie in files."""

    def __init__(self, settings: Settings):
        self.cache: WeightCache | None = None
        self._loading: dict[int, Stored] = {}  # by the parameter's storage, while nobody else can write to it
        if settings.weight_cache is not None:
            from ..weights.cache import WeightCache  # few programs need it

            self.cache = WeightCache(settings.weight_cache, settings.weight_cache_bytes)

    @contextmanager
    def loading(self, parameter: torch.Tensor, stored: Stored) -> Iterator[None]:
        """While open, the parameter has the content of a file's tensor, in memory that is mapped."""
        key = parameter.untyped_storage()._cdata
        self._loading[key] = stored
        try:
            yield
        finally:
            del self._loading[key]

    def upload(self, device: Device, plain: torch.Tensor, form: tuple, ready: Ready) -> Callable[[], Value] | None:
        """A function that brings a parameter to the device in a form: dtype, layout, and what `ready` depends on.

        None if the parameter lies in no file, neither in the device's form nor as it is.
        """
        if self.cache is None and not self._loading:
            return None
        dtype, row_major = form[:2]
        stored = self._loading.get(plain.untyped_storage()._cdata)
        forms: WeightForms | None = getattr(device, "weights", None)
        cache = self.cache if plain.is_contiguous() and plain.nbytes >= _LEAST_BYTES else None
        if cache is not None and forms is not None:
            saves_work = forms.converts(plain.dtype, dtype, row_major, stored is not None)
            if saves_work and cache.usable:
                return partial(_cached, cache, forms, device, plain, form, ready, stored)
        if stored is not None and hasattr(device, "upload_from"):
            read = partial(_read, stored, ready)
            return partial(device.upload_from, tuple(plain.shape), dtype, row_major, read)
        return None


def _cached(
    cache: WeightCache,
    forms: WeightForms,
    device: Device,
    plain: torch.Tensor,
    form: tuple,
    ready: Ready,
    stored: Stored | None,
) -> Value:
    from ..weights.cache import digest

    content = digest(plain) if stored is None else cache.digest_of(stored.file, stored.name, plain)
    shape, (dtype, row_major) = tuple(plain.shape), form[:2]
    key = cache.key(forms.kind, device.arch, device.ttnn_version, content, plain.dtype, shape, *form)

    def load(path: Any) -> Value:
        value = forms.load(path)
        if tuple(value.shape) != shape or ttnn_dtype_name(value) != dtype:
            raise ValueError(f"it has {tuple(value.shape)} in {ttnn_dtype_name(value)}")
        return value

    value = cache.find(key, forms.suffix, load)
    if value is None:
        prepared = forms.prepare(ready(plain), dtype, row_major)
        value = cache.keep(key, forms.suffix, partial(forms.save, prepared), load)
    return device.upload(ready(plain), dtype, row_major) if value is None else value


def _read(stored: Stored, ready: Ready) -> torch.Tensor:
    return ready(stored.devices())


def brought(
    session: Uploader, plain: torch.Tensor, dtype: torch.dtype, carrier: str, row_major: bool, bits: int
) -> Value:
    """Bring a host tensor to the device, cast to `dtype`, and if it is a weight also rounded to so many `bits`."""

    def ready(source: torch.Tensor) -> torch.Tensor:
        cast = source if source.dtype == dtype else source.to(dtype)
        return rounded(cast, bits) if bits else cast

    def fitted(source: torch.Tensor) -> torch.Tensor:
        return session.carriers.fitted(ready(source), carrier)

    weight = is_parameter(plain)
    form = carrier, row_major, str(dtype), bits, str(session.carriers.narrow.get(dtype, ""))
    move = session.weights.upload(session.device, plain, form, fitted) if weight else None
    if move is None:
        return session._upload(ready(plain), carrier, weight, row_major)
    return session._upload(plain, carrier, weight, row_major, move)
