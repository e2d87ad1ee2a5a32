"""A session that also keeps, for each of its tensors, the values of a reference on the host."""

from __future__ import annotations

from typing import Any

import torch

from ..blocks.dispatching import dispatching
from ..devices.base import Device
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor
from ..meta import Meta
from ..places import Places
from ..plan import Plan
from ..runtime.session import Session
from ..settings import Settings
from .calls import unseen, wide
from .errors import errors
from .record import READS, Difference, Record, shown
from .shadows import Shadows


class SideBySide(Session):
    """A session that compares what it does with a reference on the host, in the program's dtypes or in float64."""

    def __init__(self, settings: Settings, device: Device, against: str, budget: float):
        super().__init__(settings, device)
        self.makes_room = self.may_lead = self.may_wait = False  # each value is compared as it is
        self.in_double = against == "float64"
        self.shadows = Shadows(self, wide if self.in_double else lambda dtype: dtype)
        self.findings, self.places = Record(budget), Places()
        self.watches = True  # what the program reads

    def new_tensor(self, meta: Meta, value: Any, maker: Plan | None = None) -> torch.Tensor:
        """As `Session.new_tensor`, with memory that reports when the program reads it."""
        if value is None:
            return super().new_tensor(meta, None)
        cell = ReadCell(self, meta, None if callable(value) else value)
        if callable(value):
            cell.lazy = value
        self._cells.add(cell)
        return DeviceTensor.make(cell, meta)

    def differs(self, what: str, device: str = "", reference: str = "") -> None:
        """Record where the two sides differ."""
        self.findings.differs(Difference(self.places.here(), what, device, reference))

    def has_read(self, tensor: torch.Tensor, plain: torch.Tensor) -> None:
        """Compare a value that the program reads, because its further course may depend on it."""
        shadow = self.shadows.find(tensor)
        if shadow is None:
            return
        wanted = self.shadows.values(tensor)
        if self.findings.is_off(errors([plain], [wanted], [plain])):
            self.differs(READS, shown(plain), shown(wanted))

    def close(self) -> None:
        """As `Session.close`. What closing reads does not count as read by the program."""
        self.watches = False
        super().close()


class ReadCell(Cell):
    """A cell that informs its session when the program reads it."""

    def host_view(self, meta: Meta) -> torch.Tensor:
        """As `Cell.host_view`."""
        plain = super().host_view(meta)
        home: Any = self._home
        if home is not None and home.watches and not dispatching():
            with unseen():
                tensor = DeviceTensor.make(self, meta)
                home.has_read(tensor, plain)
                home.shadows.mark(tensor)  # the program may write there now
        return plain
