"""A session: one device, the values that it holds for the tensors of a block, and the record of what ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..carriers import EXACT
from ..costs.work import Work
from ..devices.base import Device, RefusedByDevice, Value
from ..errors import LoweringError
from ..forks import tell
from ..images import Image
from ..memory.cell import Cell
from ..memory.chains import ViewOf
from ..memory.inherited import inherited_device
from ..memory.letting_go import forked
from ..memory.longer import shortened, stretched
from ..memory.padding import tiled
from ..memory.placing import placing, put
from ..memory.relayout import Route, relayout
from ..memory.tensor import DeviceTensor
from ..memory.turned import turned
from ..meta import CPU, Meta, meta_of
from ..modes import without_modes
from ..on_demand import OnDemand
from ..plan import Plan
from ..settings import Settings
from .checker import Checker
from .entries import Overridable
from .int64 import fits_int32
from .lowering import run_lowering
from .refused import raise_error, reason
from .rescue import Rescue
from .sizes import Sizes
from .weights import brought

if TYPE_CHECKING:
    from ..report import Report


class Session(Rescue, Overridable):
    """What `with ttreg.device_mode() as session:` gives; `report()` tells what ran where and why."""

    checker: Checker | None = None
    capture: Any = None  # of ttnn's calls, which ends with the session
    recorded: ClassVar[Callable[..., Any]]  # makes what `record` gives; whoever opens sessions sets it

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool = True):
        Rescue.__init__(self, settings, device, sees_all_writes)
        Overridable.__init__(self)
        self.makes_room = settings.buckets != "off"
        self.sizes, self.varies = Sizes(settings.buckets), False
        self.counts_of_recorded = deque[Any](maxlen=256)
        self.closed = self.inherited = False  # whether the session belongs to the process that this one was forked from
        tell(self)

    def forked(self) -> None:
        """In a forked process: data on the host stays usable; reading data from the device raises DeviceError."""
        self.inherited, self.device = True, inherited_device(self.device)
        for cell in self.live():
            forked(cell)

    def report(self) -> Report:
        """What ran on the device, what fell back to the host, and why, up to now."""
        from ..report import DeviceInfo, Report
        from ..reporting.ranks import rank_of_process
        from ..reporting.work import calls_by_name, cost_of, program_counts

        d = self.device
        info = DeviceInfo(
            name=d.name, arch=d.arch, ttnn_version=d.ttnn_version, validated=d.validated, float32=self.settings.float32
        )
        arch = d.arch or self.settings.arch
        rows, totals = self.ledger.rows(arch)
        transfers, made = self.ledger.transfers(), self.recorder
        besides, of_ops = made.amounts(), self.ledger.amount()
        return Report(
            device=info,
            ops=rows,
            transfers=transfers,
            totals=totals,
            buckets=self.ledger.buckets(),
            checked=self.ledger.checked(),
            device_calls=calls_by_name(
                of_ops, besides, transfers.uploads + transfers.weight_uploads, transfers.downloads
            ),
            programs=program_counts(made.new_programs, made.programs.estimated),
            overrides=list(self.entries.said),
            recorded=[counts.row() for counts in self.counts_of_recorded],
            cost=cost_of(of_ops, besides, arch, made.peak, made.peak_at),
            rank=rank_of_process(),
        )

    def record(self, function: Callable[..., Any], *, check_every: int | None = None, trace: bool = False) -> Any:
        """A function that does what the given one does, recorded at its first call and replayed at the next ones.

        The first and each `check_every`-th replay are compared with it. `trace` makes them one trace of the device.
        Raises TypeError for what is no function or module.
        """
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"session.record takes a function or a module; got {function!r:.80}")
        return type(self).recorded(self, function, check_every=check_every, trace=trace)

    def new_tensor(self, meta: Meta, value: Any, maker: Plan | None = None) -> torch.Tensor:
        """A tensor whose device value is `value`; if `value` is a function, it makes the value when first needed.

        None stands for a tensor without elements, which stays on the host.
        """
        if value is None:
            return torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device=CPU)
        if callable(value):
            cell = Cell(self, meta, None)
            cell.lazy = value
        else:
            cell = Cell(self, meta, value)
        cell.maker = maker
        self._cells.add(cell)
        return DeviceTensor.make(cell, meta)

    def new_image(self, meta: Meta, value: Any, maker: Plan | None = None) -> torch.Tensor:
        """As `new_tensor`, for a value that may be an `Image`."""
        if not isinstance(value, Image):
            return self.new_tensor(meta, value, maker)
        tensor = self.new_tensor(meta, value.value, maker)
        tensor._cell.hold_image(meta, value)  # type: ignore[attr-defined]
        return tensor

    def longer_tensor(self, meta: Meta, value: Value, dim: int) -> torch.Tensor:
        """A tensor whose elements are the first along `dim` of a value that has more of them."""
        longer = stretched(meta, dim, value.shape[dim])
        cell = Cell(self, meta, None)
        cell.appended, cell.longer = dim, Cell(self, longer, value)
        cell.lazy = partial(cell.longer.device_value, shortened(longer, dim, meta.shape[dim]), None)
        self._cells.add(cell)
        return DeviceTensor.make(cell, meta)

    def on_demand(
        self, tensor: torch.Tensor, promote_to: torch.dtype | None, row_major: bool, exact: bool, bits: int
    ) -> Value | OnDemand:
        """As `value`, but a host tensor comes to the device only when a lowering asks for it, and does not stay."""
        if type(tensor) is DeviceTensor and self.holds(tensor):
            return self.value(tensor, promote_to, row_major, exact=exact)
        dtype, plain = promote_to or tensor.dtype, self.read(tensor)
        carrier = (EXACT if exact else self.carriers)[dtype]
        bits = bits if self._rounds(plain, carrier) else 0
        meta, form = meta_of(plain), (f"on demand in {carrier}", row_major, bits)
        source = self.uploads.find(plain, meta, form) or self.uploads.upload(plain, meta, form, object)
        tt = self.tt
        layout = tt.ROW_MAJOR_LAYOUT if row_major else tt.TILE_LAYOUT
        bring = partial(brought, self, plain, dtype, carrier, row_major, bits)
        return OnDemand(meta.shape, getattr(tt, carrier), layout, source, bring)

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A device tensor with the plain tensor's content. It keeps the strides if they leave no gaps.

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

    def lower(self, plan: Plan, arguments: dict[str, Any]) -> list[Value]:
        """The outputs of the plan's lowering; see `run_lowering`. What weights and constants alone give is kept."""
        with self.device.lock:
            work = plan.work
            if work is None:
                work = plan.work = Work(str(plan.op))
                plan.works.append(work)
                plan.of_kept = self._of_kept(plan, arguments) is not None
            kept = self._of_kept(plan, arguments) if plan.of_kept else None
            if kept is None:
                return self.recorder.run(work, run_lowering, self.tt, self.carriers, plan, arguments)
            run = partial(self.recorder.run, work, run_lowering, self.tt, self.carriers, plan, arguments)
            nbytes = tiled(plan.outputs[0].shape, plan.outputs[0].dtype)
            return [self.tt.derived(kept, work, nbytes, lambda: run()[0])]

    def _of_kept(self, plan: Plan, arguments: dict[str, Any]) -> list[Value] | None:
        """The tensors of a call, if weights and the program's constants alone give all of them.

        Of what was looked up in a weight, the views are kept too.
        """
        is_kept = self.uploads.is_derived if plan.placement == "view" else self.uploads.is_fixed
        values = [arguments[slot.name] for slot in plan.slots]
        of_one = len(plan.outputs) == 1 and not plan.gives_images and plan.number is None
        return values if of_one and values and all(map(is_kept, values)) else None

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """Make the device values of a view op's outputs from the value of its input."""
        plan = view.plan
        arguments = plan.constants.copy()
        arguments[plan.slots[0].name] = parent
        try:
            made = dict(zip(plan.outputs, self.lower(plan, arguments), strict=True))
        except (RefusedByDevice, LoweringError) as failure:
            if self.settings.on_device_error == "fallback":
                plan.refusal = reason(failure)  # from now on the host makes such views
                return {}
            raise_error(failure, lambda: f"the view {plan.op} of {view.parent}, when it was needed")
        if self.checker is not None:
            self.checker.compare_views(self, plan, parent, view.parent, made)
        return made

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """Make the device value of a view from the value of the whole storage, and of what else the route gives.

        Without it, the host makes the view.
        """
        try:
            made = self._relaid(value, source, target, way)
        except (RefusedByDevice, LoweringError) as failure:
            if self.settings.on_device_error == "fallback":
                return {}
            raise_error(failure, lambda: f"the view {target} of {source}, when it was needed")
        if self.checker is not None:
            self.checker.compare_relaid(self, value, source, made)
        return made

    def _relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        with self.device.lock:
            unit = self.recorder.work("views", (source, target))
            run = partial(self.recorder.run, unit, relayout, self.tt, value, way)
            if way.views:
                return dict(zip(way.views, run(), strict=True))
            if self.uploads.is_derived(value):
                nbytes = tiled(target.shape, target.dtype)
                return {target: self.tt.derived((value,), (source, target), nbytes, run)}
            return {target: run()}

    def turned(self, tensor: torch.Tensor) -> Value | None:
        """The device value of a tensor with its last two dimensions swapped, if that takes fewer ttnn calls."""
        if type(tensor) is not DeviceTensor or tensor._meta.ndim < 2 or not self.holds(tensor):
            return None
        return turned(tensor._cell, tensor._meta)

    def of_numbers(self, plain: torch.Tensor) -> Value:
        """Make the device value of content that the program made of numbers alone."""
        try:
            return self.tt.constant(plain, result=True)
        except RefusedByDevice as refused:
            raise_error(refused, lambda: f"a tensor of numbers, {meta_of(plain)}, when it was needed")

    def put(self, whole: Value, root: Meta, part: Value, target: Meta) -> Value | None:
        """Put the value of a view into the value of the whole storage; None if the host is to do that."""
        way = placing(root, target)
        if way is None:
            return None
        try:
            with self.device.lock:
                return put(self.tt, whole, part, way)
        except RefusedByDevice as refused:
            if self.settings.on_device_error == "fallback":
                return None
            raise_error(refused, lambda: "putting a written part into its storage")

    def close(self) -> None:
        """Bring every live tensor's data to the host, where it stays, and free what the device holds."""
        if self.inherited:
            return
        self.closed = True
        if self.activity is not None:
            self.activity.end()
        self.entries.undo_all()
        failures: list[Exception] = []
        for cell in self.live():
            try:
                if self.lost is None or cell.storage is not None:
                    cell.settle()
            except Exception as failure:  # settle the other cells first, then raise
                failures.append(failure)
        if self.lost is not None and self.lost.loss.names and not self.lost.loss.told:
            failures.insert(0, self.loss("tensors of this block were on the device"))
        self._cells.clear()
        self._made_by.clear()
        self.uploads.clear()
        self.tt.forget_lately()
        with self.device.lock:
            self.recorder.settle()
            if self.capture is not None:
                self.capture.end()
        if failures:
            raise failures[0]
