"""A session: one device, the uploads it holds, the decisions it made, and the counts of what happened."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from .api import Api
from .carry import Carriers
from .cell import Cell, ViewOf
from .conditions import Refusal
from .devices.base import Device, Value
from .meta import Meta, meta_of
from .plan import Placement, Plan
from .settings import Settings
from .tensor import DeviceTensor
from .uploads import Uploads, is_parameter

if TYPE_CHECKING:
    from .report import Report

_KEPT_PLANS = 4096


@dataclass
class TransferCounts:
    """Counts and bytes of what crossed between host and device."""

    uploads: int = 0
    upload_bytes: int = 0
    weight_uploads: int = 0
    weight_upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0


@dataclass
class _Tally:
    count: int = 0
    seconds: float = 0.0
    nbytes: int = 0


class Session:
    """What `with ttreg.device_mode() as session:` gives; `report()` tells what ran where and why."""

    def __init__(self, settings: Settings, device: Device):
        self.settings = settings
        self.device = device
        self.carriers = Carriers(settings.precision)
        self.tt = Api(self)
        self.uploads = Uploads()
        self.transfers = TransferCounts()
        self._live: weakref.WeakSet[Cell] = weakref.WeakSet()
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._tallies: dict[tuple[str, Placement, str, str, str, bool], _Tally] = {}

    def report(self) -> Report:
        """What ran on the device, what fell back to the host, and why, up to now."""
        from .report import DeviceInfo, OpRow, Report, Totals, Transfers

        tallies = {key: replace(tally) for key, tally in self._tallies.items()}
        for plan in self._plans.values():
            _add(tallies, plan)
        rows: dict[tuple, OpRow] = {}
        totals = Totals()
        for (op, placement, condition, reason, got, host_float), tally in tallies.items():
            totals.calls += tally.count
            setattr(totals, placement, getattr(totals, placement) + tally.count)
            totals.host_float += tally.count if host_float else 0
            row = rows.setdefault(
                (op, placement, condition, reason, got),
                OpRow(
                    op=op, placement=placement, condition=condition, reason=reason, got=got, count=0, seconds=0, bytes=0
                ),
            )
            row.count += tally.count
            row.seconds += tally.seconds
            row.bytes += tally.nbytes
        d = self.device
        return Report(
            device=DeviceInfo(name=d.name, arch=d.arch, ttnn_version=d.ttnn_version, validated=d.validated),
            ops=sorted((r for r in rows.values() if r.count), key=lambda row: (-row.seconds, row.op)),
            transfers=Transfers(**vars(self.transfers)),
            totals=totals,
        )

    def find_plan(self, key: tuple) -> Plan | None:
        """The kept decision for a signature."""
        return self._plans.get(key)

    def keep_plan(self, key: tuple, plan: Plan) -> None:
        """Keep a decision; the oldest ones give way, their counts stay."""
        self._plans[key] = plan
        if len(self._plans) > _KEPT_PLANS:
            _add(self._tallies, self._plans.popitem(last=False)[1])

    def tally(self, op: Any, placement: Placement, refusal: Refusal | None, *, host_float: bool = False) -> None:
        """Count one call that follows no kept decision."""
        plan = Plan(op, placement, refusal, host_float=host_float, count=1)
        _add(self._tallies, plan)

    def new_tensor(self, meta: Meta, value: Any) -> torch.Tensor:
        """A tensor that the device holds as `value`, or that the function `value` makes when it is first needed.

        None stands for a tensor without elements, which stays on the host.
        """
        if value is None:
            return torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype)
        cell = Cell(self, meta, None, value) if callable(value) else Cell(self, meta, value)
        self._live.add(cell)
        return DeviceTensor.make(cell, meta)

    def holds(self, tensor: DeviceTensor) -> bool:
        """Whether the session can use and replace the tensor's device value: not a pinned one, nor one that a session
        on another device, or with another precision, has made."""
        cell = tensor._cell
        if cell.pinned:
            return False
        of = cell.session
        return of is self or (of.device is self.device and of.settings.precision == self.settings.precision)

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the device with the plain tensor's content, and its strides if they leave no gaps."""
        with _disable_current_modes():
            meta = meta_of(tensor).at_start()
            if not meta.covers(tensor.nbytes):
                meta = meta_of(tensor.contiguous())
            return self.new_tensor(meta, self._upload(tensor, self.carriers[tensor.dtype], False))

    def value(self, tensor: torch.Tensor, promote_to: torch.dtype | None = None) -> Value:
        """The device value of any tensor, uploaded if need be, brought to `promote_to` if that is given."""
        dtype = promote_to or tensor.dtype
        carrier = self.carriers[dtype]
        if not (isinstance(tensor, DeviceTensor) and self.holds(tensor)):
            return self._uploaded(self.read(tensor), dtype, carrier)
        cell, meta = tensor._cell, tensor._meta
        value = cell.device_value(meta, tensor._view)
        if value is None:
            view: ViewOf | None = tensor._view
            if view is not None and cell.values:
                self.tally(view.plan.op, "host", view.plan.refusal, host_float=meta.dtype.is_floating_point)
            value = cell.values[meta] = self._upload(cell.host_view(meta), self.carriers[meta.dtype], False)
        if carrier != self.carriers[meta.dtype]:
            value = self.tt.typecast(value, getattr(self.tt, carrier))
        return value

    def indices(self, tensor: torch.Tensor, bound: int) -> Value | None:
        """The device value of a tensor of indices as uint32, or None if one is negative or not below `bound`."""
        plain = self.read(tensor)
        if plain.numel() and not (int(plain.min()) >= 0 and int(plain.max()) < bound):
            return None
        return self._uploaded(plain, torch.int64, "uint32")

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """A plain tensor with the same content, downloaded if need be. Only to be read."""
        return tensor._cell.host_view(tensor._meta) if isinstance(tensor, DeviceTensor) else tensor

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host, and count it."""
        with self.device.lock:
            plain = self.device.download(value)
        self.transfers.downloads += 1
        self.transfers.download_bytes += plain.nbytes
        return plain

    def close(self) -> None:
        """Bring every live tensor's data to the host, where it stays, and free what the device holds."""
        try:
            for cell in list(self._live):
                cell.settle()
        finally:
            self._live.clear()
            self.uploads.clear()

    def _uploaded(self, plain: torch.Tensor, dtype: torch.dtype, carrier: str) -> Value:
        meta = meta_of(plain)
        value = self.uploads.find(plain, meta, carrier)
        if value is None:
            ready = plain if plain.dtype == dtype else plain.to(dtype)
            value = self._upload(ready, carrier, is_parameter(plain))
            self.uploads.keep(plain, meta, carrier, value)
        return value

    def _upload(self, plain: torch.Tensor, carrier: str, weight: bool) -> Value:
        with self.device.lock:
            value = self.device.upload(plain, carrier)
        if weight:
            self.transfers.weight_uploads += 1
            self.transfers.weight_upload_bytes += plain.nbytes
        else:
            self.transfers.uploads += 1
            self.transfers.upload_bytes += plain.nbytes
        return value


def _add(tallies: dict[tuple[str, Placement, str, str, str, bool], _Tally], plan: Plan) -> None:
    r = plan.refusal or Refusal("")
    tally = tallies.setdefault((str(plan.op), plan.placement, r.condition, r.because, r.got, plan.host_float), _Tally())
    tally.count += plan.count
    tally.seconds += plan.seconds
    tally.nbytes += plan.nbytes * plan.count
