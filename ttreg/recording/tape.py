"""The tape of one recording: the events of a call in their order, and where each value that they use comes from.

A value of the device is known if a recorded ttnn call made it, if it was loaded from an external tensor, or if it is a
constant, such as an uploaded weight. A host tensor is known by its storage. A call with an unknown value ends the
recording: then nobody could say whether the value is the same at the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..devices.base import Value
from ..memory.cell import Cell
from ..memory.fingerprint import fingerprint
from ..memory.pieces import in_one_piece, only_whole
from ..memory.tensor import DeviceTensor
from ..memory.uploads import is_parameter
from ..memory.watch import storage_of
from ..meta import meta_of
from ..modes import without_modes
from .known import Known
from .steps import cloned_storage, kept_value, loaded, memory, storage_held
from .weights import content_of, is_compared
from .words import Event, External, Given, Plain, Ref, content


class Tape(Known):
    """What a recording has seen until now, of the device and of the host."""

    def meet(self, tensor: DeviceTensor) -> None:
        """Load an external tensor of the device when a call first takes it."""
        cell = tensor._cell
        external = None if id(cell) in self.initial else self.externals.of_cell(cell)
        if external is None:
            return
        if (cell.values or cell.lazy is not None) and not self.session.holds(tensor):
            self.fail("it uses a tensor of another session")
            return
        with self.paused():
            only_whole(cell)
        value = cell.values.get(cell.whole)
        self.initial[id(cell)] = external, cell, value
        if value is not None:
            self.bind(value, self.made(loaded, Given(external), cell.whole))

    def external_of(self, cell: Cell) -> External | None:
        """The external tensor over a cell."""
        return self.externals.of_cell(cell)

    def for_host(self, tensor: Any) -> None:
        """As `on_host`, for a tensor of any kind, or None."""
        if isinstance(tensor, DeviceTensor):
            self.on_host(tensor)

    def read_of(self, tensor: DeviceTensor) -> None:
        """Record that the program reads the content of a tensor of the device."""
        if not self.on():
            return
        with without_modes():
            self.on_host(tensor)
            storage = tensor._cell.storage
            if storage is not None and self.on():
                plain = tensor._meta.on_storage(storage)
                self.read(content, self.plain(plain), outcome=content(plain))

    def given_away(self, tensor: DeviceTensor) -> None:
        """End the recording, since the program gets the memory of a tensor."""
        if self.on():
            self.fail("it hands the memory of a tensor of the device to other code, such as NumPy")

    def on_host(self, tensor: DeviceTensor) -> None:
        """Bring the content of a tensor to the host, where a step needs it."""
        cell = tensor._cell
        if cell.storage is not None and self._known(cell.storage) is not None:
            return
        self.meet(tensor)
        if cell.storage is not None and not cell.values:
            return  # an external one
        in_one_piece(cell)
        value = cell.values.get(cell.whole)
        if value is None:
            return
        given = self.ref(value)
        with self.paused():
            cell.host_view(cell.root)
        if self.failed is not None or cell.storage is None:
            return
        ref = self.made(memory, self.session, given, cell.root, cell.image is not None, cell.nbytes)
        self.keep_storage(cell.storage, ref)

    def keep_storage(self, storage: torch.UntypedStorage, ref: Ref, fixed: bool = False) -> None:
        """Note in which register a replay has its own version of a storage."""
        self._storages[storage._cdata] = storage, ref
        if fixed:
            self._fixed.add(storage._cdata)
        else:
            self._fixed.discard(storage._cdata)

    def is_fixed(self, storage: torch.UntypedStorage) -> bool:
        """Whether a storage has the same content at each call."""
        return storage._cdata in self._fixed

    def are_fixed(self, tensors: Iterable[torch.Tensor], written: bool = False) -> bool:
        """Whether all have the same content at each call, as long as the guards hold, which then watch them."""
        constants = []
        for tensor in tensors:
            storage = tensor._cell.storage if isinstance(tensor, DeviceTensor) else storage_of(tensor)
            if storage is None or not self.is_fixed(storage):
                external = None if written or isinstance(tensor, DeviceTensor) else self.stays(tensor)
                if external is None:
                    return False
                constants.append(external)
        for external in constants:
            self.keep_constant(external)
        return True

    def _known(self, storage: torch.UntypedStorage) -> Ref | None:
        found = self._storages.get(storage._cdata)
        if found is not None:
            return found[1]
        external = self.externals.of_storage(storage)
        if external is None:
            return None
        external.load = Event(storage_held, (Given(external),), results=[("", self.register())])
        self.events.append(external.load)
        ref = external.load.results[0][1]
        self.keep_storage(storage, ref)
        return ref

    def plain(self, plain: torch.Tensor) -> Any:
        """A tensor of the host as an argument of a step."""
        storage, meta = storage_of(plain), meta_of(plain)
        ref = self._known(storage)
        if ref is None:
            self.fail("it uses a tensor of the host that was made before, and that nothing in reach holds")
            return plain
        external = self.externals.of_storage(storage)
        whole = None
        if external is not None and not isinstance(external.tensor, DeviceTensor):
            whole = external if meta_of(external.tensor) is meta else None
        return Plain(ref, meta, whole)

    def fixed(self) -> dict[Ref, torch.UntypedStorage]:
        """The storages that have the same content at each call."""
        return {ref: storage for storage, ref in self._storages.values() if self.is_fixed(storage)}

    def knows(self, storage: torch.UntypedStorage) -> Ref | None:
        """The register of a storage that the recording has met."""
        found = self._storages.get(storage._cdata)
        return found[1] if found is not None else None

    def wrote(self, storage: torch.UntypedStorage) -> None:
        """Note that a host op has written to a storage."""
        self._uploads = {key: value for key, value in self._uploads.items() if key[0] != storage._cdata}
        external = self.externals.of_storage(storage)
        if external is None:
            return
        external.written = True
        if external.load is not None:
            external.load.function = cloned_storage
        if external.constant:
            self.externals.changes.add(id(external.tensor))
            if external.tensor.requires_grad:  # an optimizer, which writes to the other weights next
                constants = [each.tensor for each in self.externals.all if each.constant]
                self.externals.changes.update(id(tensor) for tensor in constants if tensor.requires_grad)
            # A function that writes to one buffer does so to others, and no version tells of the statistics of norms.
            others = [each.tensor for each in self.externals.all if not is_parameter(each.tensor)]
            self.externals.changes.update(map(id, others))
            self.fail(f"it writes to {external.name}, which it has used before; the next call is recorded anew")
            self.may_succeed = True

    def stays(self, plain: torch.Tensor) -> External | None:
        """The external tensor that has a tensor's memory, if it is a constant of the recording, as weights are."""
        external = self.externals.of_storage(storage_of(plain))
        return external if external is not None and self._stays(external, plain) else None

    def _stays(self, external: External, plain: torch.Tensor) -> bool:
        """Whether a tensor is a constant of the recording, as long as its version, or its content, stands still."""
        tensor = external.tensor
        if isinstance(tensor, DeviceTensor) or not self.externals.may_be_constant(external):
            return False
        uploads = self.session.uploads
        if external.constant or not is_parameter(tensor):
            return external.constant or is_compared(tensor)
        return not uploads.sees_all_writes or uploads.trusts(tensor)

    def keep_constant(self, external: External) -> None:
        """Make the content of a tensor part of the recording."""
        if external.constant:
            return
        external.constant = True
        if is_compared(external.tensor):
            external.content = content_of(external.tensor)
        elif not self.session.uploads.sees_all_writes:
            external.mark = fingerprint(external.tensor)

    def uploaded(
        self, plain: torch.Tensor, form: tuple, make: Callable[[], Value], steps: tuple[Any, Any], more: tuple
    ) -> Value:
        """The value of a tensor of the host, which a replay uploads anew unless the tensor is a constant.

        The first of the two steps keeps the upload, the second does not: nobody else has the tensor.
        """
        storage, meta = storage_of(plain), meta_of(plain)
        external = self.stays(plain)
        if external is not None:
            self.keep_constant(external)
            with self.paused():
                value = kept_value(self.session, plain, *more)
            self.constant(value)
            return value
        key = (storage._cdata, meta, *form)
        value = self._uploads.get(key)
        if value is not None and (id(value) in self._living or id(value) in self._constants):
            return value
        word = self.plain(plain)
        with self.paused():
            value = make()  # an object of its own: equal content at this call does not mean equal content at the next
        if self.failed is not None:
            return value
        self._uploads[key] = value
        if self.is_fixed(storage):
            self._constants[id(value)] = value
        else:
            self._living[id(value)] = [value, self.made(steps[0], word, *more, instead=steps[1], same="new upload")]
        return value
