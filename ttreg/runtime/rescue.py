"""What a session does when its device has no memory left, or answers no more."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import torch

from ..amounts import size
from ..devices import forget
from ..devices.base import Device, LostDevice, RefusedByDevice, Value
from ..errors import DeviceError
from ..memory.cell import Cell
from ..memory.cells import Cells
from ..memory.held import of_cell, of_values
from ..memory.inherited import AbsentDevice
from ..memory.letting_go import free, lose
from ..meta import meta_of
from ..places import Place, Places
from ..settings import Settings
from .refused import raise_error
from .values import Values

_log = logging.getLogger(__name__)

_MOST_NAMED = 8  # tensors that an error names; the others are counted


class Rescue(Values):
    """The part of a session that knows its cells, and what becomes of them when the device fails."""

    lost: LostDevice | None = None  # why the device answers no more

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool):
        super().__init__(settings, device, sees_all_writes)
        self._cells = Cells()
        self._uploaded_bytes = -1, 0  # after so many changes of the uploads
        self.recorder.again = self.again

    def live(self) -> list[Cell]:
        """The storages of the session's tensors that the program still holds."""
        return self._cells.live()

    def adopt(self, cell: Cell) -> None:
        """Take in a new cell, whose content comes to the host when the session ends."""
        self._cells.add(cell)

    def held(self) -> int:
        """About how many bytes of the device's memory the session holds: values of tensors, and uploads."""
        changes, nbytes = self._uploaded_bytes
        if changes != self.uploads.changes:
            changes = self.uploads.changes
            nbytes = of_values(self.uploads.kept())
            self._uploaded_bytes = changes, nbytes
        return nbytes + sum(map(of_cell, self.live()))

    def fetch(self, value: Value) -> torch.Tensor:
        """As `download`, for the session's own purposes: it is not counted."""
        with self.device.lock:
            try:
                return self.recorder.made_or_again(self.device.download, (value,), {})
            except RefusedByDevice as refused:
                raise_error(refused, lambda: "reading a tensor of the device")

    def brought_back(self, plain: torch.Tensor) -> Value:
        """The device value of what the host made for a tensor of the device."""
        try:
            return self._upload(plain, self.carriers[plain.dtype], False)
        except RefusedByDevice as refused:
            raise_error(refused, lambda: f"bringing {meta_of(plain)} back to the device")

    def again(self, failure: Exception, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """The result of a device call that failed for want of memory: what can be made again is freed for it first.

        Raises the failure if it has another cause, or if there is still no room; then it says what holds the memory.
        """
        try:
            if not (isinstance(failure, RefusedByDevice) and failure.out_of_memory):
                self._note(failure)
                raise failure
            self.free()
            try:
                return function(*args, **kwargs)
            except RefusedByDevice as still:
                if still.out_of_memory:
                    still.more = self._called_at() + self.what_holds_memory()
                    _log.warning("%s", f"{still}{still.more}")  # the exception would keep values alive in the record
                self._note(still)
                raise
        finally:
            del failure  # it would keep this frame alive, and all tensors of the call

    def free(self) -> None:
        """Free all of the device's memory that can be filled again: uploads and what was made of them, and views."""
        with self.device.lock:
            self.uploads.clear()
            self.tt.let_go()
            for cell in self.live():
                free(cell)
        gc.collect()  # tensors in reference cycles

    def _called_at(self) -> str:
        """The line of Python that made the present call, and the module; a trace tells of all failures itself."""
        place = Places().here() if self.settings.trace is None else Place()
        return f"; it was called at {place}" if place.where else ""

    def what_holds_memory(self) -> str:
        """The tensors that hold the device's memory, by the op and the line of Python that made them."""
        nbytes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for cell in self.live():
            made_by = _maker(cell)
            nbytes[made_by] += of_cell(cell)
            counts[made_by] += 1
        rows = [f"{size(n)} in {counts[name]} of {name}" for name, n in nbytes.most_common(_MOST_NAMED) if n]
        uploads = of_values(self.uploads.kept())
        rows += [f"{size(uploads)} in weights and other uploads"] if uploads else []
        total = size(nbytes.total() + uploads)
        return f"; the session holds {total}: {'; '.join(rows)}" if rows else "; the session holds none of the memory"

    def _note(self, failure: Exception) -> None:
        """If the device answers no more, let go of all that it held, and have every later call of it fail at once."""
        if not isinstance(failure, LostDevice):
            return
        with self.device.lock:
            if self.lost is None:
                self._lose(failure)
            assert self.lost is not None
            failure.more, failure.loss = self.lost.more, self.lost.loss

    def _lose(self, failure: LostDevice) -> None:
        # Not the failure itself: its traceback keeps the values of the call alive.
        self.lost, failed = LostDevice(failure.call, failure.message), self.device
        names = []
        for cell in self.live():
            name = f"{cell.root} of {_maker(cell)}"
            if lose(cell, partial(self._gone, name)):
                names.append(name)
        self.lost.loss.names = tuple(names)
        self.lost.more = f"; {_told_lost(names)}. A block that is opened from now on opens the device anew"
        self.device = AbsentDevice(failed, self._refuse, failed.lock)
        self.uploads.clear()
        self.tt.answer_no_more(self.device.tt)
        forget(failed)

    def _refuse(self) -> NoReturn:
        assert self.lost is not None
        again = LostDevice(self.lost.call, self.lost.message)
        again.more, again.loss = self.lost.more, self.lost.loss
        raise again

    def _gone(self, name: str) -> NoReturn:
        raise self.loss(f"the only copy of {name} was on the device")

    def loss(self, what: str) -> DeviceError:
        """The error that tells the program what was lost."""
        assert self.lost is not None
        self.lost.loss.told = True
        error = DeviceError(f"{what}, which answers no more ({self.lost}){self.lost.more}")
        error.lost = self.lost.loss.names
        return error


def _maker(cell: Cell) -> str:
    plan = cell.maker
    if plan is None:
        return "a tensor that was put on the device, or made by a recorded function"
    return f"{plan.op} ({plan.line})" if plan.line else str(plan.op)


def _told_lost(names: list[str]) -> str:
    if not names:
        return "no tensor was lost, since the host has all of them"
    more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"lost are the tensors whose only copy it had: {', '.join(names[:_MOST_NAMED])}{more}"
