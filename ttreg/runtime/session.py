"""A session: one device, what it holds for the tensors of a block, and the record of what happened."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..carriers import EXACT, Carriers, narrowed
from ..conditions import Refusal
from ..devices.base import Device, RefusedByDevice, Value
from ..errors import FallbackError, LoweringError
from ..forks import tell
from ..memory.cell import Cell, Cells
from ..memory.chains import ViewOf
from ..memory.inherited import InheritedDevice
from ..memory.relayout import Route, relayout
from ..memory.tensor import DeviceTensor
from ..memory.uploads import Uploads, is_parameter
from ..memory.watch import uploading
from ..meta import CPU, Meta, is_plain, meta_of
from ..modes import without_modes
from ..plan import Plan
from ..refusal import REBUILT
from ..settings import Settings
from .api import Api, ExactApi
from .block_floats import block_float_of
from .ledger import Ledger
from .lowering import run_lowering
from .refused import raise_error, reason
from .rounding import rounded

if TYPE_CHECKING:
    from ..report import Report


class TooLarge(Exception):
    """A tensor of int64 has values outside of int32's range."""


class Checker(Protocol):
    """What holds each result of the device to the host's, under `check`; each raises AccuracyError."""

    def compare(
        self, session: Session, plan: Plan, arguments: dict[str, Value], values: list[Value], args: tuple, kwargs: dict
    ) -> list[Value]:
        """The values of a call, once each is found to be what the host has."""

    def compare_views(self, session: Session, plan: Plan, parent: Value, source: Meta, made: dict[Meta, Value]) -> None:
        """Hold views to what their metadata shows of their parent's memory."""

    def compare_relaid(self, session: Session, value: Value, source: Meta, made: Value, target: Meta) -> None:
        """Hold a whole storage under other metadata to what it was."""


class Session:
    """What `with ttreg.device_mode() as session:` gives; `report()` tells what ran where and why."""

    checker: Checker | None = None

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool = True):
        self.settings = settings
        self.device = device
        self.carriers = Carriers(settings.precision)
        self.uploads = Uploads(sees_all_writes)
        self.ledger = Ledger()
        of_chip = device.chip_numerics
        # Golden values are exact as they are; but calls that are checked are those that a chip would be asked for.
        self.exact = settings.float32 == "exact" and (of_chip or device.validated)
        self.rounds_weights = settings.float32 == "fast" and of_chip
        api = ExactApi if self.exact else Api
        self.tt = api(device, self.carriers, self.uploads, self._constant, self.ledger.converted)
        self._cells = Cells()
        # By storage: the plan whose call on the host made the content from downloaded tensors.
        self._made_by: dict[int, tuple[Plan, weakref.ref[torch.UntypedStorage]]] = {}
        self.inherited = False  # whether it is the session of a process that this one was forked from
        tell(self)

    def forked(self) -> None:
        """In a forked process: what the host holds stays there, and the rest raises DeviceError."""
        self.inherited, self.device = True, InheritedDevice(self.device)
        for cell in self.live():
            cell.forked()

    def report(self) -> Report:
        """What ran on the device, what fell back to the host, and why, up to now."""
        from ..report import DeviceInfo, Report

        d = self.device
        info = DeviceInfo(
            name=d.name,
            arch=d.arch,
            ttnn_version=d.ttnn_version,
            validated=d.validated,
            float32=self.settings.float32,
        )
        rows, totals = self.ledger.rows()
        return Report(device=info, ops=rows, transfers=self.ledger.transfers(), totals=totals)

    def new_tensor(self, meta: Meta, value: Any) -> torch.Tensor:
        """A tensor that the device holds as `value`, or that the function `value` makes when it is first needed.

        None stands for a tensor without elements, which stays on the host.
        """
        if value is None:
            return torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device=CPU)
        if callable(value):
            cell = Cell(self, meta, None)
            cell.lazy = value
        else:
            cell = Cell(self, meta, value)
        self._cells.add(cell)
        return DeviceTensor.make(cell, meta)

    def live(self) -> list[Cell]:
        """The storages of the tensors that the session made and the program still has."""
        return self._cells.live()

    def holds(self, tensor: DeviceTensor) -> bool:
        """Whether the session can use and replace the tensor's device value: not a pinned one, nor one that a session
        on another device, or with another precision, has made."""
        cell = tensor._cell
        home = cell._home  # another thread may pin the cell, and end its session
        if home is None or cell.pinned:
            return False
        return home is self or (home.device is self.device and home.carriers.narrow == self.carriers.narrow)

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the device with the plain tensor's content, and its strides if they leave no gaps.

        Raises ValueError for a dtype that no ttnn dtype carries, and for int64 values outside int32's range.
        """
        if tensor.dtype not in self.carriers:
            raise ValueError(f"{tensor.dtype} has no ttnn dtype; leave the tensor on the host, or convert it first")
        with without_modes():
            if tensor.dtype is torch.int64 and not _fits_int32(tensor):
                raise ValueError("the device carries int64 as int32, which some values of the tensor are too large for")
            meta = meta_of(tensor).at_start()
            if not meta.covers(tensor.nbytes):
                meta = meta_of(tensor.contiguous()).at_start()
            try:
                value = self._upload(tensor, self.carriers[tensor.dtype], False)
            except RefusedByDevice as refused:
                raise_error(refused, lambda: f"to_device({meta})")
            return self.new_tensor(meta, value)

    def value(
        self,
        tensor: torch.Tensor,
        promote_to: torch.dtype | None = None,
        row_major: bool = False,
        block_float: bool = False,
        exact: bool = False,
        bits: int = 0,
    ) -> Value:
        """The device value of any tensor, uploaded if need be, brought to `promote_to` if that is given.

        With `block_float`, a parameter for which the user asked for one arrives in it; with `exact`, what the host has
        is not narrowed; with `bits`, a parameter of float32 is rounded to these. Raises TooLarge for int64 values that
        the device cannot carry, which the host may have written.
        """
        dtype = promote_to or tensor.dtype
        carrier = (EXACT if exact else self.carriers)[dtype]
        if type(tensor) is DeviceTensor:
            held = tensor._cell.values  # before the next question: another thread may write to the tensor
        if not (type(tensor) is DeviceTensor and self.holds(tensor)):
            plain = self.read(tensor)
            if block_float:
                carrier = block_float_of(plain) or carrier
            if bits and not (
                self.rounds_weights and carrier == "float32" and plain.dtype is torch.float32 and is_parameter(plain)
            ):
                bits = 0
            return self._uploaded(plain, dtype, carrier, row_major, bits=bits)
        cell, meta = tensor._cell, tensor._meta
        value = cell.device_value(meta, tensor._view)
        if value is None:
            view: ViewOf | None = tensor._view
            if view is not None and held:
                refusal = next((v.plan.refusal for v in view.chain() if v.plan.refusal is not None), REBUILT)
                self.fell_back(view.plan.op, refusal, meta.dtype.is_floating_point, lambda: str(meta))
            plain = cell.host_view(meta)
            if meta.dtype is torch.int64 and dtype is not torch.int64:  # the values may be too large for int32
                return self._uploaded(plain, dtype, carrier, row_major)
            value = self._upload(plain, self.carriers[meta.dtype], False)
            cell.keep_views({meta: value}, held)
        if carrier == self.carriers[meta.dtype] and not row_major:
            return value
        with self.device.lock:
            if carrier != self.carriers[meta.dtype]:
                value = self.tt.typecast(value, getattr(self.tt, carrier))
            return self.tt.to_layout(value, self.tt.ROW_MAJOR_LAYOUT) if row_major else value

    def fell_back(self, op: Any, refusal: Refusal, floating: bool, call: Callable[[], str]) -> None:
        """Count a call that turns out to be the host's, and complain as `on_fallback` says."""
        self.ledger.tally(op, "host", refusal, floating=floating)
        if floating:
            self.complain(op, refusal, call)

    def complain(self, op: Any, refusal: Refusal, call: Callable[[], str]) -> None:
        """Warn of a fallback, or raise FallbackError, as `on_fallback` says."""
        if self.settings.on_fallback == "allow":
            return
        message = f"{op} fell back to the host: {refusal}; the call was {call()}"
        if self.settings.on_fallback == "raise":
            raise FallbackError(message)
        warnings.warn(message, stacklevel=_users_stacklevel())

    def lower(self, plan: Plan, arguments: dict[str, Any]) -> list[Value]:
        """The outputs of the plan's lowering; see `run_lowering`."""
        with self.device.lock:
            return run_lowering(self.tt, self.carriers, plan, arguments)

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """The device values of a view op's outputs, from that of its input."""
        plan = view.plan
        arguments = plan.constants.copy()
        arguments[plan.slots[0].name] = parent
        try:
            made = dict(zip(plan.outputs, self.lower(plan, arguments), strict=True))
        except (RefusedByDevice, LoweringError) as failure:
            if self.settings.on_device_error == "fallback":
                plan.refusal = reason(failure)  # from now on such views are the host's
                return {}
            raise_error(failure, lambda: f"the view {plan.op} of {view.parent}, when it was needed")
        if self.checker is not None:
            self.checker.compare_views(self, plan, parent, view.parent, made)
        return made

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> Value:
        """The device value of a view, from that of the whole storage."""
        with self.device.lock:
            made = relayout(self.tt, value, way)
        if self.checker is not None:
            self.checker.compare_relaid(self, value, source, made, target)
        return made

    def indices(self, argument: Any, ready: Callable[[Any], torch.Tensor | None], row_major: bool = False) -> Any:
        """The device value, as uint32, of what `ready` makes of the plain indices; None if one is out of bounds."""
        several = isinstance(argument, (list, tuple))
        plain = ready([None if t is None else self.read(t) for t in argument] if several else self.read(argument))
        return None if plain is None else self._uploaded(plain, torch.int64, "uint32", row_major)

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """A plain tensor with the same content, downloaded if need be. Only to be read."""
        return tensor._cell.host_view(tensor._meta) if isinstance(tensor, DeviceTensor) else tensor

    def peek(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same as `read`, for the session's own purposes: nothing is kept or counted. Only to be read at once."""
        return tensor._cell.peek(tensor._meta) if isinstance(tensor, DeviceTensor) else tensor

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host, and count it."""
        with self.device.lock:
            start = perf_counter()
            try:
                plain = self.device.download(value)
            except RefusedByDevice as refused:
                raise_error(refused, lambda: "reading a tensor of the device")
        self.ledger.moved("downloads", plain.nbytes, perf_counter() - start)
        return plain

    def ran_on_host(self, plan: Plan, nbytes: int, results: Iterable[Any]) -> None:
        """Note that so many bytes were downloaded for a call of the plan, and what came of it: it may go up again."""
        plan.bytes_down += nbytes
        for result in results:
            if isinstance(result, DeviceTensor):
                storage = result._cell.storage
            else:
                storage = result.untyped_storage() if isinstance(result, torch.Tensor) and is_plain(result) else None
            if storage is not None:
                gone = partial(self._forget_maker, storage._cdata)
                self._made_by[storage._cdata] = plan, weakref.ref(storage, gone)

    def _forget_maker(self, storage: int, _: Any) -> None:
        self._made_by.pop(storage, None)

    def close(self) -> None:
        """Bring every live tensor's data to the host, where it stays, and free what the device holds."""
        if self.inherited:
            return
        failures: list[Exception] = []
        for cell in self.live():
            try:
                cell.settle()
            except Exception as failure:  # the others are settled first, then it is raised
                failures.append(failure)
        self._cells.clear()
        self._made_by.clear()
        self.uploads.clear()
        if failures:
            raise failures[0]

    def _constant(self, plain: torch.Tensor, carrier: str, shared: bool) -> Value:
        return self._uploaded(plain, plain.dtype, carrier, shared=shared)

    def _uploaded(
        self,
        plain: torch.Tensor,
        dtype: torch.dtype,
        carrier: str,
        row_major: bool = False,
        shared: bool = True,
        bits: int = 0,
    ) -> Value:
        """The value of a host tensor; with `shared`, that of an equal small one, which is kept when both are gone."""
        meta, form = meta_of(plain), (carrier, row_major, bits)
        value = self.uploads.find(plain, meta, form)
        if value is None:
            weight = is_parameter(plain)

            def make() -> Value:
                ready = plain if plain.dtype == dtype else plain.to(dtype)
                ready = rounded(ready, bits) if bits else ready
                return self._upload(ready, carrier, weight, row_major)

            of_equal = partial(self.uploads.find_equal, plain, meta, form, make)
            value = self.uploads.upload(plain, meta, form, of_equal if shared else make)
        return value

    def _upload(self, plain: torch.Tensor, carrier: str, weight: bool, row_major: bool = False) -> Value:
        if plain.dtype is torch.int64 and carrier == "int32" and not _fits_int32(plain):
            raise TooLarge
        with self.device.lock:
            start = perf_counter()
            narrow = self.carriers.narrow.get(plain.dtype)
            ready = narrowed(plain, narrow) if narrow is not None and carrier == self.carriers[plain.dtype] else plain
            with uploading():
                value = self.device.upload(ready, carrier, row_major)
        self.ledger.moved("weight_uploads" if weight else "uploads", plain.nbytes, perf_counter() - start)
        if self._made_by:
            made_by = self._made_by.get(plain.untyped_storage()._cdata)
            if made_by is not None:
                made_by[0].bytes_up += plain.nbytes
        return value


def _fits_int32(tensor: torch.Tensor) -> bool:
    limits = torch.iinfo(torch.int32)
    return not tensor.numel() or bool(tensor.min() >= limits.min and tensor.max() <= limits.max)


def _users_stacklevel() -> int:
    """The stacklevel, for a warning of the caller's, of the first frame that is neither PyTorch's nor ttreg's."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "ttreg"):
        frame, level = frame.f_back, level + 1
    return level
