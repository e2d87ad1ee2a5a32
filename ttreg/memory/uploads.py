"""Uploads of host tensors, kept while their memory lives and never served stale."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch

from ..devices.base import Value
from ..meta import Meta
from ..on_demand import OnDemand
from ..pytorch_private import PARAMETERS_HOLDERS, VIEWS_HOLDERS, storage_use_count
from .fingerprint import fingerprint, same, same_bits
from .kept import Kept
from .padding import tiled
from .records import MOST_STEPS, Derived, Upload, forget
from .watch import Watched, watch

# Programs make the same masks, positions and constants again at every pass. Equal tensors of at most _SHARED_BYTES
# share an upload. All these uploads together keep at most _MOST_SHARED bytes in tile layout.
_SHARED_BYTES, _MOST_SHARED = 1 << 16, 1 << 24

# Limits in bytes for tensors that are not parameters, with the copy that shows changes. A program that goes through a
# data set should not fill the device with it. Slices get a lower limit, since their number has no bound.
MOST_OF_WHOLE_STORAGES, MOST_OF_PARTS = 1 << 28, 1 << 24

# Uploads of views that show a part of a parameter may take this many times the parameter's bytes, or this many bytes.
_TIMES_A_PARAMETER, _LEAST_OF_A_PARAMETER = 4, 1 << 20

# How many values lowerings may derive from one upload: a kernel in the layouts of different calls, for example.
_MOST_PREPARED = 16

# Limit in bytes for the parts into which exact products split weights. The parts are five times as large as the weight.
_MOST_OF_SPLIT = 1 << 31

# Limits in bytes for what ops make of weights and constants alone: of one result, and of all.
_LARGEST_DERIVED, _MOST_OF_DERIVED = 1 << 22, 1 << 26

_use_count = storage_use_count

Form = tuple[str, bool, int]  # the ttnn dtype, whether it is row-major, and the mantissa bits it is rounded to (0: not)
_Key = tuple[int, Meta, Form]  # identifies an upload: the storage's address, metadata and form


class _StorageUploads:
    """A session's uploads from one storage, by metadata and form."""

    def __init__(self, watched: Watched, session: Uploads, key: int):
        self.reference = watched.reference
        self.watched = watched
        self.by_meta: dict[tuple[Meta, Form], Upload] = {}
        self.parts: Kept[_Key] | None = None  # only for a parameter
        self._session, self._key = weakref.ref(session), key
        watched.uploads.append(self)

    def drop(self) -> None:
        """Drop all uploads, because the memory changed or is gone."""
        by_meta, self.by_meta, self.parts = self.by_meta, {}, None
        if self in self.watched.uploads:
            self.watched.uploads.remove(self)
        session = self._session()
        if session is not None:
            session.dropped(self._key, by_meta)


class Uploads:
    """Device values of host tensors. Keys are storage and metadata, so a new `weight.t()` finds the earlier upload.

    A parameter is trusted if only PyTorch can write its memory: its upload is valid while its version counter stands
    still and no session sees a write. Any other tensor may change behind PyTorch's back, through NumPy, DLPack or a raw
    pointer, and inference tensors have no counter. So its content is compared with what was uploaded.

    One kind of write leaves no trace: a thread outside of all blocks writes to a parameter through `.data`, through an
    `untyped_storage()` that it holds, or at an address that it got outside of a block. If the program itself may write
    so (`sees_all_writes` is False), a parameter's content is compared at each call.

    The upload of a whole parameter is kept as long as the parameter lives. Uploads of all other tensors, and of parts
    of parameters, are kept up to a number of bytes.
    """

    def __init__(self, sees_all_writes: bool = True) -> None:
        self.sees_all_writes = sees_all_writes
        self._storages: dict[int, _StorageUploads] = {}
        self._wholes: Kept[_Key] = Kept(MOST_OF_WHOLE_STORAGES)
        self._parts: Kept[_Key] = Kept(MOST_OF_PARTS)
        self._by_content: dict[tuple[Meta, Form, bytes], Derived] = {}
        self._shared: Kept[tuple[Meta, Form, bytes]] = Kept(_MOST_SHARED)
        # Keys are ids of the device values, which the uploads keep alive.
        self._by_value: weakref.WeakValueDictionary[int, Upload | Derived] = weakref.WeakValueDictionary()
        self._split: Kept[weakref.ref[Derived]] = Kept(_MOST_OF_SPLIT)
        self._derived: Kept[weakref.ref[Derived]] = Kept(_MOST_OF_DERIVED)
        self._call = 0
        self.changes = 0  # of what is kept, except by equal content

    def next_call(self) -> None:
        """Note that the program ran meanwhile, and may have written where this session does not see it."""
        self._call += 1

    def find(self, tensor: torch.Tensor, meta: Meta, form: Form) -> Value | None:
        """The value uploaded for this tensor's present content, or None."""
        storage = tensor.untyped_storage()
        of_storage = self._storages.get(storage._cdata)
        if of_storage is None or of_storage.reference() is not storage:  # see `watch`
            return None
        if (upload := of_storage.by_meta.get((meta, form))) is None:
            return None
        if upload.version is not None and self._trusts(tensor, storage, of_storage.watched):
            return upload.value if upload.version == tensor._version else None
        if not self._is_same(upload, tensor):
            return None
        key = storage._cdata, meta, form
        self._wholes.used(key)
        self._parts.used(key)
        return upload.value

    def upload(self, tensor: torch.Tensor, meta: Meta, form: Form, make: Callable[[], Value]) -> Value:
        """Upload the tensor's present content with `make`, and keep the value for `find`."""
        storage = tensor.untyped_storage()
        key, parameter = storage._cdata, is_parameter(tensor)
        of_storage = self._storages.get(key)
        if of_storage is None:
            of_storage = self._storages[key] = _StorageUploads(watch(storage), self, key)
        # Read before the upload, to notice a write that another thread makes during it.
        changes, trusted = of_storage.watched.changes, self._trusts(tensor, storage, of_storage.watched)
        version = tensor._version if trusted else None
        mark = fingerprint(tensor) if parameter and not trusted else None
        snapshot = None if parameter else tensor.detach().clone()
        value = make()
        if of_storage.watched.changes != changes or self._storages.get(key) is not of_storage:  # or memory was freed
            return value
        upload = Upload(value, version, mark, snapshot, self._call)
        of_storage.by_meta[meta, form] = self._by_value[id(value)] = upload
        self.changes += 1
        is_part = meta.nbytes < storage.nbytes()
        if snapshot is not None:
            kept = self._parts if is_part else self._wholes
            self._make_room(kept, (key, meta, form), _on_device(meta, form) + snapshot.nbytes)
        elif is_part:
            if of_storage.parts is None:
                of_storage.parts = Kept(max(_TIMES_A_PARAMETER * storage.nbytes(), _LEAST_OF_A_PARAMETER))
            self._make_room(of_storage.parts, (key, meta, form), _on_device(meta, form))
        return value

    def find_equal(
        self, tensor: torch.Tensor, meta: Meta, form: Form, make: Callable[[], Value], fixed: bool = False
    ) -> Value:
        """The value uploaded for a small tensor with the same content, or `make()`.

        With `fixed`, the program makes this content from its constants, and what is derived from it is kept too.
        """
        if tensor.nbytes > _SHARED_BYTES or is_parameter(tensor):
            return make()
        # The bytes of a clone: NumPy makes a storage unresizable, and the program's own must stay resizable.
        own = tensor.detach().clone(memory_format=torch.contiguous_format)
        content = own.flatten().view(torch.uint8).numpy().tobytes()
        key = meta.at_start(), form, content
        record = self._by_content.get(key)
        if record is None:
            record = self._by_content[key] = Derived(make())
            for old in self._shared.add(key, _on_device(meta, form) + len(content)):
                self._by_content.pop(old, None)
        self._shared.used(key)
        if fixed:
            record.rest = MOST_STEPS
            self._by_value[id(record.value)] = record
        return record.value

    def prepared(self, value: Value, key: Hashable, make: Callable[[], Any], beside: tuple = ()) -> Any:
        """What `make` derives from an uploaded value, and perhaps from others `beside` it.

        It is made once for each `key` while the uploads are kept.
        """
        source = self._by_value.get(id(value.source if type(value) is OnDemand else value))
        if source is None or any(id(other) not in self._by_value for other in beside):
            return make()
        key = (key, *map(id, beside)) if beside else key
        derived = source.prepared.get(key)
        if derived is None:
            rest = min(record.rest for record in (source, *map(self._by_value.get, map(id, beside))))  # type: ignore
            derived = source.prepared[key] = Derived(make(), beside, max(rest - 1, 0))
            self.changes += 1
            if derived.value is not value:
                self._by_value[id(derived.value)] = derived  # so that more can be derived from it
            if len(source.prepared) > _MOST_PREPARED:
                source.prepared.popitem(last=False)
        return derived.value

    def is_fixed(self, value: Value) -> bool:
        """Whether weights and the program's constants alone give this value."""
        record = self._by_value.get(id(value))
        return record is not None and record.fixed

    def is_derived(self, value: Value) -> bool:
        """Whether the value is fixed, or was derived from one that is kept."""
        record = self._by_value.get(id(value))
        return record is not None and (record.fixed or isinstance(record, Derived))

    def derive(self, values: Sequence[Value], key: Hashable, nbytes: int, make: Callable[[], Value]) -> Value:
        """As `prepared`, for what an op makes of kept values; of all that, so many bytes are kept."""
        source: Any = self._by_value.get(id(values[0]))
        if source is None or nbytes > _LARGEST_DERIVED:
            return make()
        beside = tuple(values[1:])
        full_key = (key, *map(id, beside)) if beside else key
        derived = source.prepared.get(full_key)
        if derived is not None:
            return derived.value
        value = self.prepared(values[0], key, make, beside)
        derived = source.prepared.get(full_key)
        if derived is not None:
            derived.source = weakref.ref(source), full_key
            for old in self._derived.add(weakref.ref(derived, self._derived.drop), nbytes):
                forget(old())
        return value

    def split(self, value: Value, key: Hashable, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        """As `prepared`, for large values. They are kept only up to a total number of bytes.

        Kept values stay, and newer ones are made again at each call. A program uses its weights in turn: if the least
        recently used were dropped, it would find none of them again.
        """
        source = self._by_value.get(id(value))
        if source is None or (key not in source.prepared and self._split.nbytes + nbytes > self._split.most):
            return make()
        made = self.prepared(value, key, make)
        kept = weakref.ref(source.prepared[key], self._split.drop)
        for _ in self._split.add(kept, nbytes):
            pass
        return made

    def dropped(self, storage: int, by_meta: dict[tuple[Meta, Form], Upload]) -> None:
        """Note that these uploads of a storage are no longer kept."""
        self._storages.pop(storage, None)
        self.changes += 1
        for meta, form in by_meta:
            for kept in (self._wholes, self._parts):
                kept.drop((storage, meta, form))

    def kept(self) -> Iterator[Any]:
        """All that is kept: device values, lists of such, and what devices make of weights."""
        sources: list[Upload | Derived] = list(self._by_content.values())
        for of_storage in list(self._storages.values()):
            sources += of_storage.by_meta.values()
        while sources:
            source = sources.pop()
            sources += list(source.prepared.values())
            yield source.value

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

    def trusts(self, tensor: torch.Tensor) -> bool:
        """Whether the version counter of a tensor tells of each write to its memory."""
        return self._trusts(tensor, tensor.untyped_storage(), watch(tensor.untyped_storage()))

    def _trusts(self, tensor: torch.Tensor, storage: torch.UntypedStorage, watched: Watched) -> bool:
        if not self.sees_all_writes or tensor.is_inference():
            return False
        if not is_parameter(tensor):
            return False
        # The parameter and the storage's Python object hold the storage, and so does `tensor` if it is a view. Another
        # holder may be an alias with its own counter (`.data`), or outside PyTorch (DLPack).
        holders = PARAMETERS_HOLDERS if tensor._base is None else VIEWS_HOLDERS
        return _use_count(storage._cdata) <= holders and not watched.is_shared(storage)

    def _is_same(self, upload: Upload, tensor: torch.Tensor) -> bool:
        if upload.snapshot is not None:
            return same_bits(upload.snapshot, tensor)
        if upload.fingerprint is None:
            return False
        if not self.sees_all_writes and upload.call == self._call:  # within one call, the session sees all writes
            return True
        upload.call = self._call
        return same(upload.fingerprint, fingerprint(tensor))


def is_parameter(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a parameter, or a view of one."""
    if type(tensor) is torch.nn.Parameter:  # faster than isinstance, which Parameter overrides
        return True
    return isinstance(tensor._base if tensor._base is not None else tensor, torch.nn.Parameter)


def _on_device(meta: Meta, form: Form) -> int:
    """About how many bytes an upload takes on the device."""
    return meta.nbytes if form[1] else tiled(meta.shape, meta.dtype)
