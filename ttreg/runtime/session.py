"""A session: one device, what it holds for the tensors of a block, and the record of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..devices.base import Device, RefusedByDevice, Value
from ..errors import LoweringError
from ..forks import tell
from ..memory.cell import Cell
from ..memory.cells import Cells
from ..memory.chains import ViewOf
from ..memory.inherited import InheritedDevice
from ..memory.relayout import Route, relayout
from ..memory.tensor import DeviceTensor
from ..meta import CPU, Meta, meta_of
from ..modes import without_modes
from ..plan import Plan
from ..settings import Settings
from .refused import raise_error, reason
from .values import Values, fits_int32

if TYPE_CHECKING:
    from ..report import Report


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


class Session(Values):
    """What `with ttreg.device_mode() as session:` gives; `report()` tells what ran where and why."""

    checker: Checker | None = None

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool = True):
        super().__init__(settings, device, sees_all_writes)
        self._cells = Cells()
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

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the device with the plain tensor's content, and its strides if they leave no gaps.

        Raises ValueError for a dtype that no ttnn dtype carries, and for int64 values outside int32's range.
        """
        if tensor.dtype not in self.carriers:
            raise ValueError(f"{tensor.dtype} has no ttnn dtype; leave the tensor on the host, or convert it first")
        with without_modes():
            if tensor.dtype is torch.int64 and not fits_int32(tensor):
                raise ValueError("the device carries int64 as int32, which some values of the tensor are too large for")
            meta = meta_of(tensor).at_start()
            if not meta.covers(tensor.nbytes):
                meta = meta_of(tensor.contiguous()).at_start()
            try:
                value = self._upload(tensor, self.carriers[tensor.dtype], False)
            except RefusedByDevice as refused:
                raise_error(refused, lambda: f"to_device({meta})")
            return self.new_tensor(meta, value)

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
