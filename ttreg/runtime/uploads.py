"""Uploads of host tensors, kept while their memory lives and never served stale."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..devices.base import Value
from ..meta import Meta

_INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

# Programs make the same masks, positions and constants anew at every pass: up to this many bytes, and this many of
# them, equal ones share an upload.
_SHARED_BYTES, _SHARED = 1 << 16, 64

_use_count = torch._C._storage_Use_Count

Form = tuple[str, bool]  # the ttnn dtype, and whether in row-major layout


@dataclass
class _Upload:
    value: Value
    version: int | None  # of a trusted tensor
    snapshot: torch.Tensor | None  # of any other: what was uploaded
    prepared: dict[Hashable, Any] = field(default_factory=dict)  # what lowerings derived from the value


class _StorageUploads:
    """What was uploaded of one storage, by metadata and form."""

    def __init__(self, reference: weakref.ref):
        self.reference = reference
        self.by_meta: dict[tuple[Meta, Form], _Upload] = {}


class Uploads:
    """Device values of host tensors by storage and metadata, so that `weight.t()` made anew each time finds its upload.

    A parameter in memory that only PyTorch can write is trusted while its version counter stands still. Every other
    tensor may have changed behind PyTorch's back (NumPy, DLPack, a raw pointer; under `inference_mode` there is no
    counter at all), so its content is compared with what was uploaded. Not noticed is a write to a parameter through
    its `.data` in a thread that is outside the block: it leaves no trace. Where the program itself may make such
    writes (`sees_all_writes` is False), a parameter's content is compared too.
    """

    def __init__(self, sees_all_writes: bool = True) -> None:
        self._sees_all_writes = sees_all_writes
        self._storages: dict[int, _StorageUploads] = {}
        self._distrusted: dict[int, weakref.ref] = {}
        self._by_content: OrderedDict[tuple[Meta, Form, bytes], Value] = OrderedDict()
        # By the identity of the value, which the upload keeps alive.
        self._by_value: weakref.WeakValueDictionary[int, _Upload] = weakref.WeakValueDictionary()

    def find(self, tensor: torch.Tensor, meta: Meta, form: Form) -> Value | None:
        """The value uploaded for this tensor's present content, or None."""
        storage = tensor.untyped_storage()
        of_storage = self._storages.get(storage._cdata)
        upload = of_storage.by_meta.get((meta, form)) if of_storage is not None else None
        if upload is None:
            return None
        if upload.version is not None and self._trusts(tensor, storage):
            return upload.value if upload.version == tensor._version else None
        if upload.snapshot is not None and _same_bits(upload.snapshot, tensor):
            return upload.value
        return None

    def keep(self, tensor: torch.Tensor, meta: Meta, form: Form, value: Value) -> None:
        """Keep `value` as the upload of this tensor's present content, until its memory dies."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages:
            self._storages[key] = _StorageUploads(weakref.ref(storage, lambda _: self._storages.pop(key, None)))
        trusted = self._trusts(tensor, storage)
        upload = _Upload(value, tensor._version if trusted else None, None if trusted else tensor.detach().clone())
        self._storages[key].by_meta[meta, form] = self._by_value[id(value)] = upload

    def find_equal(self, tensor: torch.Tensor, meta: Meta, form: Form, make: Callable[[], Value]) -> Value:
        """The value uploaded for a small tensor with the same content, or `make()`."""
        if tensor.nbytes > _SHARED_BYTES or is_parameter(tensor):
            return make()
        # A clone's bytes: NumPy's hold on a storage shows, and must not show on the program's own.
        content = (
            tensor.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).numpy().tobytes()
        )
        key = meta.at_start(), form, content
        if key not in self._by_content:
            self._by_content[key] = make()
            if len(self._by_content) > _SHARED:
                self._by_content.popitem(last=False)
        self._by_content.move_to_end(key)
        return self._by_content[key]

    def prepared(self, value: Value, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` derives from an uploaded value, made once while the upload is kept; `key` tells what it is."""
        upload = self._by_value.get(id(value))
        if upload is None:
            return make()
        if key not in upload.prepared:
            made = upload.prepared[key] = make()
            self._by_value[id(made)] = upload  # so that more can be derived from it
        return upload.prepared[key]

    def forget(self, tensor: torch.Tensor) -> None:
        """Drop the uploads of the tensor's memory, because it was written to."""
        self._storages.pop(tensor.untyped_storage()._cdata, None)

    def distrust(self, tensor: torch.Tensor) -> None:
        """Note that the tensor's memory was given away, so that its version counter means nothing any more."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._distrusted[key] = weakref.ref(storage, lambda _: self._distrusted.pop(key, None))
        self.forget(tensor)

    def clear(self) -> None:
        """Drop everything."""
        self._storages.clear()
        self._distrusted.clear()
        self._by_content.clear()

    def _trusts(self, tensor: torch.Tensor, storage: torch.UntypedStorage) -> bool:
        if not self._sees_all_writes or tensor.is_inference():
            return False
        if not is_parameter(tensor):
            return False
        # The storage's Python object and the parameter hold it, and the tensor if that is a view. Anyone else may be
        # an alias with a counter of its own (`.data`) or outside PyTorch (DLPack).
        holders = 2 if tensor._base is None else 3
        key = storage._cdata
        return _use_count(key) <= holders and storage.resizable() and key not in self._distrusted


def is_parameter(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a parameter, or a view of one."""
    if type(tensor) is torch.nn.Parameter:  # isinstance is a method of its own here, and slow
        return True
    return isinstance(tensor._base if tensor._base is not None else tensor, torch.nn.Parameter)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    # As integers, so that NaN equals itself and 0.0 does not equal -0.0.
    integer = _INTEGER_OF_SIZE[a.itemsize]
    return torch.equal(a.detach().view(integer), b.detach().view(integer))
