"""Runs a program and a reference, and says after which calls the error exceeds a budget, and what each call adds."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from pydantic import BaseModel

from ..devices import open_device
from ..errors import SettingsError
from ..places import Place
from ..settings import Settings
from .block_floats import Carried, try_block_float
from .calls import unseen
from .dispatcher import SideBySideDispatcher
from .outcomes import Runs, block, returned_tensors, start_of, worst_of
from .record import Compared, Difference
from .side_by_side import SideBySide

REFERENCES = ("cpu", "float64")
DEFAULT_BUDGET = 0.01


class Line(BaseModel):
    """Where a call comes from: file and line, the code there, and the innermost module at work."""

    where: str = ""
    code: str = ""
    module: str = ""


class CallRow(Line):
    """A call that computes something. Errors are relative to the norm of the reference's results.

    `own` is the op's error on the reference's inputs, `inherited` the norm of the rest of `error`. Both are null if the
    two sides cannot be compared. `passes` says that the error is above the budget while no input's error was.
    """

    number: int  # from 1, in the order of the program
    op: str
    call: str
    placement: str
    error: float | None = None
    own: float | None = None
    inherited: float | None = None
    non_finite: int = 0  # places at which only one side has NaN, or an infinity
    own_non_finite: int = 0
    passes: bool = False


class Parting(Line):
    """Where the program depends on a value that differs in the reference, or that cannot be followed."""

    what: str
    device: str = ""
    reference: str = ""
    count: int = 1


class Bisection(BaseModel):
    """What `ttreg bisect` says. `error` is the error of the worst tensor that the program returns."""

    target: str
    device: str
    arch: str
    settings: dict[str, str | int | float | bool | None] = {}  # settings that differ from the default
    against: str
    budget: float
    error: float | None = None
    non_finite: int = 0
    calls: list[CallRow] = []
    partings: list[Parting] = []
    failed: str = ""  # how the program failed, if it did
    carried: Carried | None = None  # with --try

    @property
    def passing(self) -> list[CallRow]:
        """The calls after which the error is above the budget while no input's error was."""
        return [row for row in self.calls if row.passes]

    @property
    def worst(self) -> list[CallRow]:
        """The calls sorted by their own error, largest first."""
        known = [row for row in self.calls if row.own or row.own_non_finite]
        return sorted(known, key=lambda row: (-row.own_non_finite, -(row.own or 0.0)))

    @property
    def within(self) -> bool:
        """Whether the program finished, and no error exceeded the budget."""
        return not self.failed and not self.passing and self.within_at_the_end

    @property
    def within_at_the_end(self) -> bool:
        """Whether the error of the program's output is within the budget."""
        return (self.error is None or self.error <= self.budget) and not self.non_finite


def bisect(
    name: str,
    runs: Runs,
    settings: Settings,
    against: str = "cpu",
    budget: float = DEFAULT_BUDGET,
    model: torch.nn.Module | None = None,
    block_float: str | None = None,
) -> Bisection:
    """Run the program on the device of the settings and compare it with the host: "cpu", or "float64".

    With `block_float`, also try the weights of the `model` that it calls in block floats. Raises SettingsError for a
    device that computes no values, and DeviceUnavailableError for one that cannot be opened.
    """
    if settings.device == "mock":
        raise SettingsError("device is 'mock', which has no values to compare; expected 'auto', 'ttnn' or 'emulated'")
    settings = replace(settings, check=None, trace=None, on_fallback="allow")
    start = start_of(model)
    session = SideBySide(settings, open_device(settings), against, budget)
    returned, failed = runs(block(session, SideBySideDispatcher))
    with unseen():
        wanted = [session.shadows.values(tensor).clone() for tensor in returned_tensors(returned)]
        found = worst_of(returned_tensors(returned), wanted)
    made = Bisection(
        target=name,
        device=session.device.name,
        arch=session.device.arch,
        settings={f.name: value for f in fields(Settings) if (value := getattr(settings, f.name)) != f.default},
        against=against,
        budget=budget,
        error=None if found is None else found.error,
        non_finite=0 if found is None else found.non_finite,
        calls=[_row(number, call) for number, call in enumerate(session.findings.calls, 1)],
        partings=[Parting(**_line(d.place), **_said(d)) for d in session.findings.differences],
        failed=failed,
    )
    if block_float is not None and model is not None and not failed:
        weights = session.findings.weights
        made.carried = try_block_float(block_float, runs, settings, model, weights, wanted, budget, start)
    return made


def _row(number: int, call: Compared) -> CallRow:
    row = CallRow(
        number=number, op=call.op, call=call.call, placement=call.placement, passes=call.passes, **_line(call.place)
    )
    if call.errors is not None:
        for name, value in vars(call.errors).items():
            setattr(row, name, value)
    return row


def _line(place: Place) -> dict[str, Any]:
    return {"where": place.where, "code": place.code, "module": place.module}


def _said(difference: Difference) -> dict[str, Any]:
    return {name: value for name, value in vars(difference).items() if name != "place"}
