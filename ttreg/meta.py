"""The metadata of a tensor. Equal metadata is one object, so signatures compare it by identity."""

from __future__ import annotations

import weakref
from functools import lru_cache
from math import prod
from typing import Any

import torch

from .pytorch_private import dispatch_keys

# Passed wherever ttreg makes a tensor: otherwise the program's default device would apply.
CPU = torch.device("cpu")


class Meta:
    """The dtype, shape, strides and storage offset of a tensor, the last two in elements. Only `intern` makes one.

    Two tensors with equal metadata share one `Meta`, so comparing and hashing go by identity.
    """

    __slots__ = ("__weakref__", "dtype", "is_default", "nbytes", "numel", "offset", "shape", "stride")

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: int):
        self.dtype, self.shape, self.stride, self.offset = dtype, shape, stride, offset
        self.numel = prod(shape)
        self.nbytes = self.numel * dtype.itemsize
        # Whether `torch.empty(shape)` has these strides and this offset.
        self.is_default = offset == 0 and stride == _default_strides(shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__

    def like(self, dtype: torch.dtype) -> Meta:
        """The same geometry with another dtype."""
        return intern(dtype, self.shape, self.stride, self.offset)

    def at_start(self) -> Meta:
        """The same geometry at the start of its storage."""
        return intern(self.dtype, self.shape, self.stride, 0)

    def covers(self, nbytes: int) -> bool:
        """Whether the tensor occupies each byte of a storage of `nbytes` exactly once."""
        if self.offset or self.nbytes != nbytes:
            return False
        step = 1
        for stride, size in sorted(zip(self.stride, self.shape, strict=True)):
            if size != 1:
                if stride != step:
                    return False
                step *= size
        return True

    @property
    def end(self) -> int:
        """How many bytes a storage must have for the tensor to lie in it."""
        if not self.numel:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        return (self.offset + last + 1) * self.dtype.itemsize

    def on_meta(self) -> torch.Tensor:
        """A tensor on the `meta` device with this metadata."""
        if not self.offset:
            return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")
        base = torch.empty(self.end // self.dtype.itemsize, dtype=self.dtype, device="meta")
        return base.as_strided(self.shape, self.stride, self.offset)

    def on_storage(self, storage: torch.UntypedStorage) -> torch.Tensor:
        """A plain CPU tensor with this metadata over `storage`."""
        return torch.empty(0, dtype=self.dtype, device=CPU).set_(storage, self.offset, self.shape, self.stride)


def _default_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class _Interned(dict[tuple, Meta]):
    """Every `Meta` that was made. Those that nothing else holds go when there are too many."""

    limit = 1 << 16

    def make_room(self) -> None:
        """Forget what nothing else holds. What is held stays the one object for its values.

        Another thread may make a second object meanwhile: that costs a new decision, but makes none wrong.
        """
        held = [(key, weakref.ref(meta)) for key, meta in tuple(self.items())]
        self.clear()
        for key, reference in held:
            if (meta := reference()) is not None:
                self.setdefault(key, meta)
        self.limit = max(_Interned.limit, 2 * len(self))


_INTERNED = _Interned()


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` as `float32`."""
    return str(dtype).removeprefix("torch.")


def intern(dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: Any = 0) -> Meta:
    """The one `Meta` for these values."""
    key = (dtype, shape, stride, offset)
    meta = _INTERNED.get(key)
    if meta is None:
        if len(_INTERNED) >= _INTERNED.limit:
            _INTERNED.make_room()
        meta = _INTERNED.setdefault(key, Meta(dtype, tuple(shape), stride, offset))
    return meta


@lru_cache(maxsize=1 << 12)
def transposed(meta: Meta) -> Meta:
    """The metadata of the view with the last two dimensions swapped."""
    shape, stride = meta.shape, meta.stride
    swapped = (*shape[:-2], shape[-1], shape[-2]), (*stride[:-2], stride[-1], stride[-2])
    return intern(meta.dtype, *swapped, meta.offset)


def in_rows(dtype: torch.dtype, shape: tuple[int, ...]) -> Meta:
    """The metadata of `torch.empty(shape)`."""
    return intern(dtype, shape, _default_strides(shape))


def without_ones(meta: Meta) -> Meta:
    """The metadata of `tensor.squeeze()`."""
    dims = [dim for dim, size in enumerate(meta.shape) if size != 1]
    return intern(meta.dtype, tuple(meta.shape[d] for d in dims), tuple(meta.stride[d] for d in dims), meta.offset)


def meta_of(tensor: torch.Tensor) -> Meta:
    """The metadata of a strided tensor."""
    return intern(tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset())


def _keys_of_plain_tensors() -> frozenset[int]:
    def made() -> int:
        return dispatch_keys(torch.empty(0, device=CPU)).raw_repr()

    with torch.inference_mode():
        inference = made()
    with torch.inference_mode(False):
        return frozenset((made(), inference))


# A tensor with exactly these dispatch keys is dense, on the CPU, not conjugated, not fake, and not a subclass.
PLAIN_KEYS = _keys_of_plain_tensors()


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether the tensor is an ordinary dense CPU tensor."""
    return dispatch_keys(tensor).raw_repr() in PLAIN_KEYS
