"""A module that a process runs to have a chip: the emulated device under that name, which errs as `PLAN` says."""

from __future__ import annotations

import os
import signal
import time

from ttreg import devices
from ttreg.devices import import_ttnn

import_ttnn()

from ttreg.devices import chip  # noqa: E402
from ttreg.devices.base import RefusedByDevice  # noqa: E402
from ttreg.devices.emulated.device import EmulatedDevice  # noqa: E402

GONE = "the card fell off the bus"

# What a ttnn function does on operands of this shape.
SHAPE = [33]
PLAN = os.environ.get("STAND_IN_PLAN", "") == "errs"

_present = [True]


def _hang(value):
    time.sleep(600)


def _vanish(value):
    os.kill(os.getpid(), signal.SIGKILL)


def _lose_the_card(value):
    _present[0] = False
    raise RefusedByDevice("ttnn.trunc", GONE)


def _refuse(value):
    raise RefusedByDevice("ttnn.sin", "no circular buffer")


FAULTS = {
    "erf": lambda value: type(value)(value.data + 0.25, value.dtype, value.layout),
    "sin": _refuse,
    "cos": _hang,
    "tan": _vanish,
    "trunc": _lose_the_card,
}


class ErringApi:
    def __init__(self, tt):
        self._tt = tt

    def __getattr__(self, name):
        function = getattr(self._tt, name)
        if not PLAN or name not in FAULTS:
            return function

        def call(*args, **kwargs):
            if not _present[0]:
                raise RefusedByDevice(f"ttnn.{name}", GONE)
            made = function(*args, **kwargs)
            return FAULTS[name](made) if list(made.shape) == SHAPE else made

        return call


class StandIn(EmulatedDevice):
    name = "ttnn"

    def __init__(self, settings, ttnn_version):
        super().__init__(settings, ttnn_version)
        self.tt = ErringApi(self.tt)


devices.chip_present = lambda: _present[0]
chip.open_chip = StandIn  # type: ignore[assignment]
