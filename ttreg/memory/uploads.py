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
from ..pytorch_private import PARAMETERS_HOLDERS, VIEWS_HOLDERS, storage_use_count
from .fingerprint import Fingerprint, fingerprint, same
from .kept import Kept
from .padding import tiled
from .watch import Watched, watch

# Programs make the same masks, positions and constants anew at every pass: equal ones of up to so many bytes share an
# upload, of which so many bytes are kept, in tiles.
_SHARED_BYTES, _MOST_SHARED = 1 << 16, 1 << 24

# Of tensors that are no parameters, in tiles and with the copy that tells of changes: a program that goes through a
# data set should not fill the device with it, least of all by slices, of which there is no end.
MOST_OF_WHOLE_STORAGES, MOST_OF_PARTS = 1 << 28, 1 << 24

# Of views that are parts of a parameter: as many bytes as the parameter has, so many times, and at least these.
_TIMES_A_PARAMETER, _LEAST_OF_A_PARAMETER = 4, 1 << 20

# What lowerings derive from one upload, such as a kernel in the layouts that different calls want.
_MOST_PREPARED = 16

# Of the parts into which weights are split for exact products, together five times as large as the weight.
_MOST_OF_SPLIT = 1 << 31

_use_count = storage_use_count

Form = tuple[str, bool, int]  # the ttnn dtype, whether in row-major layout, and to how many bits rounded (0: not)
_Key = tuple[int, Meta, Form]  # of an upload: its storage's, and what it has of that


@dataclass(eq=False)
class _Derived:
    """What a lowering derived from a value, and what was derived from that in turn."""

    value: Any
    prepared: OrderedDict[Hashable, _Derived] = field(default_factory=OrderedDict)


@dataclass(eq=False)
class _Upload:
    value: Value
    version: int | None  # of a trusted tensor
    fingerprint: Fingerprint | None  # of any other parameter: what was uploaded
    snapshot: torch.Tensor | None  # of what is no parameter
    call: int = 0  # that of a compiled model in which the content was last found to be the same
    prepared: OrderedDict[Hashable, _Derived] = field(default_factory=OrderedDict)


class _StorageUploads:
    """What a session uploaded of one storage, by metadata and form."""

    def __init__(self, watched: Watched, session: Uploads, key: int):
        self.reference = watched.reference
        self.watched = watched
        self.by_meta: dict[tuple[Meta, Form], _Upload] = {}
        self.parts: Kept[_Key] | None = None  # of a parameter
        self._session, self._key = weakref.ref(session), key
        watched.uploads.append(self)

    def drop(self) -> None:
        """Let go of all, because the memory changed or is gone."""
        by_meta, self.by_meta, self.parts = self.by_meta, {}, None
        if self in self.watched.uploads:
            self.watched.uploads.remove(self)
        session = self._session()
        if session is not None:
            session.dropped(self._key, by_meta)


class Uploads:
    """Device values of host tensors by storage and metadata, so that `weight.t()` made anew each time finds its upload.

    A parameter in memory that only PyTorch can write is trusted while its version counter stands still, and no session
    sees a write to it. Every other tensor may have changed behind PyTorch's back (NumPy, DLPack, a raw pointer; under
    `inference_mode` there is no counter at all), so its content is compared with what was uploaded. Not noticed is a
    write to a parameter in a thread that is outside of all blocks through its `.data`, through an `untyped_storage()`
    that the program holds, or at an address that was asked for outside of a block: it leaves no trace. Where the
    program itself may make such writes (`sees_all_writes` is False), a parameter's content is compared at each call.

    Uploads of parameters are kept while they live; of views that are a part of one, and of all other tensors, up to a
    number of bytes.
    """

    def __init__(self, sees_all_writes: bool = True) -> None:
        self._sees_all_writes = sees_all_writes
        self._storages: dict[int, _StorageUploads] = {}
        self._wholes: Kept[_Key] = Kept(MOST_OF_WHOLE_STORAGES)
        self._parts: Kept[_Key] = Kept(MOST_OF_PARTS)
        self._by_content: dict[tuple[Meta, Form, bytes], Value] = {}
        self._shared: Kept[tuple[Meta, Form, bytes]] = Kept(_MOST_SHARED)
        # By the identity of the value, which the upload keeps alive.
        self._by_value: weakref.WeakValueDictionary[int, _Upload | _Derived] = weakref.WeakValueDictionary()
        self._split: Kept[weakref.ref[_Derived]] = Kept(_MOST_OF_SPLIT)
        self._call = 0

    def next_call(self) -> None:
        """Note that the program has had its turn, and may have written to what this session does not see."""
        self._call += 1

    def find(self, tensor: torch.Tensor, meta: Meta, form: Form) -> Value | None:
        """The value uploaded for this tensor's present content, or None."""
        storage = tensor.untyped_storage()
        of_storage = self._storages.get(storage._cdata)
        upload = of_storage.by_meta.get((meta, form)) if of_storage is not None else None
        if upload is None:
            return None
        if upload.version is not None and self._trusts(tensor, storage, of_storage.watched):  # type: ignore[union-attr]
            return upload.value if upload.version == tensor._version else None
        if not self._is_same(upload, tensor):
            return None
        for kept in (self._wholes, self._parts):
            kept.used((storage._cdata, meta, form))
        return upload.value

    def upload(self, tensor: torch.Tensor, meta: Meta, form: Form, make: Callable[[], Value]) -> Value:
        """What `make` uploads of this tensor's present content, kept as long as it may be."""
        storage = tensor.untyped_storage()
        key, parameter = storage._cdata, is_parameter(tensor)
        of_storage = self._storages.get(key)
        if of_storage is None:
            of_storage = self._storages[key] = _StorageUploads(watch(storage), self, key)
        # Of before, in case that another thread writes to it while it is uploaded.
        changes, trusted = of_storage.watched.changes, self._trusts(tensor, storage, of_storage.watched)
        version = tensor._version if trusted else None
        mark = fingerprint(tensor) if parameter and not trusted else None
        snapshot = None if parameter else tensor.detach().clone()
        value = make()
        if of_storage.watched.changes != changes:
            return value
        upload = _Upload(value, version, mark, snapshot, self._call)
        of_storage.by_meta[meta, form] = self._by_value[id(value)] = upload
        is_part = meta.nbytes < storage.nbytes()
        if snapshot is not None:
            kept = self._parts if is_part else self._wholes
            self._make_room(kept, (key, meta, form), _on_device(meta, form) + snapshot.nbytes)
        elif is_part:
            if of_storage.parts is None:
                of_storage.parts = Kept(max(_TIMES_A_PARAMETER * storage.nbytes(), _LEAST_OF_A_PARAMETER))
            self._make_room(of_storage.parts, (key, meta, form), _on_device(meta, form))
        return value

    def find_equal(self, tensor: torch.Tensor, meta: Meta, form: Form, make: Callable[[], Value]) -> Value:
        """The value uploaded for a small tensor with the same content, or `make()`."""
        if tensor.nbytes > _SHARED_BYTES or is_parameter(tensor):
            return make()
        # A clone's bytes: NumPy's hold on a storage shows, and must not show on the program's own.
        content = (
            tensor.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).numpy().tobytes()
        )
        key = meta.at_start(), form, content
        value = self._by_content.get(key)
        if value is None:
            value = self._by_content[key] = make()
            for old in self._shared.add(key, _on_device(meta, form) + len(content)):
                self._by_content.pop(old, None)
        self._shared.used(key)
        return value

    def prepared(self, value: Value, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` derives from an uploaded value, made once while the upload is kept; `key` tells what it is."""
        source = self._by_value.get(id(value))
        if source is None:
            return make()
        derived = source.prepared.get(key)
        if derived is None:
            derived = source.prepared[key] = _Derived(make())
            if derived.value is not value:
                self._by_value[id(derived.value)] = derived  # so that more can be derived from it
            if len(source.prepared) > _MOST_PREPARED:
                source.prepared.popitem(last=False)
        return derived.value

    def split(self, value: Value, key: Hashable, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        """The same of large values; kept as long as they take no more than so many bytes in all.

        Those that are there stay: a program goes through its weights in turn, and would come back to none of them if
        the longest unused gave way.
        """
        source = self._by_value.get(id(value))
        if source is None or (key not in source.prepared and self._split.nbytes + nbytes > self._split.most):
            return make()
        made = self.prepared(value, key, make)
        kept = weakref.ref(source.prepared[key], self._split.drop)
        for _ in self._split.add(kept, nbytes):
            pass
        return made

    def dropped(self, storage: int, by_meta: dict[tuple[Meta, Form], _Upload]) -> None:
        """Note that these uploads of a storage are kept no longer."""
        self._storages.pop(storage, None)
        for meta, form in by_meta:
            for kept in (self._wholes, self._parts):
                kept.drop((storage, meta, form))

    def clear(self) -> None:
        """Drop everything."""
        for of_storage in list(self._storages.values()):
            of_storage.drop()
        self._by_content.clear()
        self._shared = Kept(_MOST_SHARED)

    def _make_room(self, kept: Kept[_Key], key: _Key, nbytes: int) -> None:
        for storage, meta, form in kept.add(key, nbytes):
            of_storage = self._storages.get(storage)
            if of_storage is not None:
                of_storage.by_meta.pop((meta, form), None)
                if not of_storage.by_meta:
                    of_storage.drop()

    def _trusts(self, tensor: torch.Tensor, storage: torch.UntypedStorage, watched: Watched) -> bool:
        if not self._sees_all_writes or tensor.is_inference():
            return False
        if not is_parameter(tensor):
            return False
        # The storage's Python object and the parameter hold it, and the tensor if that is a view. Anyone else may be
        # an alias with a counter of its own (`.data`) or outside PyTorch (DLPack).
        holders = PARAMETERS_HOLDERS if tensor._base is None else VIEWS_HOLDERS
        return _use_count(storage._cdata) <= holders and storage.resizable() and not watched.given_away

    def _is_same(self, upload: _Upload, tensor: torch.Tensor) -> bool:
        if upload.snapshot is not None:
            return _same_bits(upload.snapshot, tensor)
        if upload.fingerprint is None:
            return False
        if not self._sees_all_writes and upload.call == self._call:  # since then, all writes were seen
            return True
        upload.call = self._call
        return same(upload.fingerprint, fingerprint(tensor))


def is_parameter(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a parameter, or a view of one."""
    if type(tensor) is torch.nn.Parameter:  # isinstance is a method of its own here, and slow
        return True
    return isinstance(tensor._base if tensor._base is not None else tensor, torch.nn.Parameter)


def _on_device(meta: Meta, form: Form) -> int:
    """About how many bytes an upload takes there."""
    return meta.nbytes if form[1] else tiled(meta.shape, meta.dtype)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    # As integers, so that NaN equals itself and 0.0 does not equal -0.0.
    integer = _INTEGER_OF_SIZE[a.itemsize]
    return torch.equal(a.detach().view(integer), b.detach().view(integer))


_INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
