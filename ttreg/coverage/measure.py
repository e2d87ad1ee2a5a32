"""Runs a target dry and says what would run where: calls by op, a share, and the refusals that cost most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from pydantic import BaseModel, Field

from ..costs.work import Amount
from ..errors import first_line
from ..meta import Meta
from ..pytorch_private import tree_map_only
from ..report import Cost, DeviceWork, PlacedAlike, ProgramCounts, Totals
from ..reporting.difference import Difference
from ..reporting.work import calls_by_name, cost_of, program_counts
from ..runtime.ledger import Ledger
from ..settings import Settings
from .cost import Costs
from .dry import dry_run
from .host_values import HostSession
from .shapes import ShapeSession
from .unknown import ValuesNeeded
from .variations import Skipped, Variation

# Runs a program in a block, and returns the error if it failed, else nothing.
Runs = Callable[[AbstractContextManager[Any]], str]


class CoverageRow(PlacedAlike):
    """Calls of one op that would be placed alike for one reason."""

    bytes: int = 0  # of the inputs
    work: DeviceWork | None = Field(default=None, exclude_if=lambda work: work is None)  # with --cost


class Refused(BaseModel):
    """Calls of one op that one condition keeps on the host."""

    op: str
    condition: str
    reason: str
    got: list[str]  # all that the condition met
    count: int = 0
    bytes: int = 0  # of the inputs, which have to be on the host for it


class Stopped(BaseModel):
    """The place where the program needed a value that is not computed. Later calls are not covered."""

    reason: str
    where: str  # file and line


class Coverage(BaseModel):
    """What `ttreg coverage` says. `share` is the device's share of the floating-point calls, as in the totals."""

    target: str
    with_values: bool
    share: float | None = None
    totals: Totals = Totals()
    ops: list[CoverageRow] = []  # the most frequent first
    refusals: list[Refused] = []  # the most frequent first, of those the ones with the most bytes
    stopped: Stopped | None = None
    failed: str = ""  # how the program failed, if it did
    skipped: list[Skipped] = []
    # With --cost, for the board with a chip of the setting `arch`: as in a report of a real run, but estimated.
    device_calls: dict[str, int] | None = None
    programs: ProgramCounts | None = None
    cost: Cost | None = None
    cost_unknown: list[str] = []  # ops whose ttnn calls depend on values
    difference: Difference | None = Field(default=None, exclude_if=lambda found: found is None)  # with --compare

    @property
    def whole(self) -> bool:
        """Whether the run reached the program's end."""
        return self.stopped is None and not self.failed


class _Counts:
    """Sums what sessions counted."""

    def __init__(self, arch: str) -> None:
        self.totals, self.amount, self._arch = Totals(), Amount(), arch
        self._rows: dict[tuple, CoverageRow] = {}

    def add(self, ledger: Ledger) -> None:
        """Count what a session counted."""
        rows, totals = ledger.rows(self._arch)
        self.amount.add(ledger.amount())
        for name, count in totals:
            setattr(self.totals, name, getattr(self.totals, name) + count)
        for row in rows:
            said = {name: getattr(row, name) for name in ("op", "placement", "condition", "reason", "got")}
            kept = self._rows.setdefault(tuple(said.values()), CoverageRow(**said))
            kept.count += row.count
            kept.bytes += row.bytes
            if row.work is not None:
                kept.work = row.work if kept.work is None else kept.work.and_also(row.work)

    def costs(self, session: HostSession) -> dict[str, Any]:
        """What the device would have to do, if that was asked for."""
        if session.costs is None:
            return {}
        besides, made = session.recorder.amounts(), session.recorder
        return {
            "device_calls": calls_by_name(self.amount, besides, 0, 0),
            "programs": program_counts(made.new_programs, estimated=True),
            "cost": cost_of(self.amount, besides, self._arch, 0, ""),
            "cost_unknown": sorted(session.costs.unknown),
        }

    def coverage(self, name: str, **how: Any) -> Coverage:
        """The counts in order, with the share and the refusals."""
        rows = sorted(self._rows.values(), key=lambda r: (-r.count, -r.bytes, r.op, r.placement, r.got))
        return Coverage(
            target=name,
            share=self.totals.share,
            totals=self.totals,
            ops=rows,
            refusals=_ranked(row for row in rows if row.placement == "host" and not row.is_bookkeeping),
            **how,
        )


def cover(
    name: str,
    runs: Runs,
    settings: Settings,
    unknown: Iterable[torch.Tensor] = (),
    values: bool = False,
    cost: bool = False,
) -> Coverage:
    """What the program would do. The values of the tensors in `unknown` count as unknown.

    With `values`, the host computes what the device would; else the program is followed to the first place at which it
    needs such a value.
    """
    session: HostSession = HostSession(settings) if values else ShapeSession(settings)
    session.costs = Costs(session) if cost else None
    if isinstance(session, ShapeSession):
        for tensor in unknown:
            session.unknown.add(tensor)
    failed = runs(dry_run(session))
    stopped = None
    if isinstance(session, ShapeSession) and session.stopped is not None:
        stopped = Stopped(reason=session.stopped.what, where=session.stopped.where)
    counts = _Counts(settings.arch)
    counts.add(session.ledger)
    how = counts.costs(session)
    return counts.coverage(
        name, with_values=values, stopped=stopped, failed="" if stopped is not None else failed, **how
    )


def cover_calls(name: str, calls: Iterable[Variation | Skipped], settings: Settings, cost: bool = False) -> Coverage:
    """What each of the calls would do, made alone with every tensor on the device that can be there."""
    counts, skipped = _Counts(settings.arch), []
    session = ShapeSession(settings)
    session.costs = Costs(session) if cost else None
    for call in calls:
        if isinstance(call, Skipped):
            skipped.append(call)
            continue
        session.ledger = Ledger()
        arguments = tree_map_only(Meta, session.stand_in, call.arguments)
        try:
            with torch.inference_mode(), dry_run(session):  # under which composite ops arrive whole
                call.op(**arguments)
        except ValuesNeeded:  # the call itself reads the value, and has been counted
            pass
        except Exception as error:  # of whatever type PyTorch chooses
            skipped.append(Skipped(line=call.line, reason=f"{call.op}: {first_line(error)}"))
            continue
        counts.add(session.ledger)
    return counts.coverage(name, with_values=False, skipped=skipped, **counts.costs(session))


def _ranked(rows: Iterable[CoverageRow]) -> list[Refused]:
    refused: dict[tuple, Refused] = {}
    for row in rows:
        new = Refused(op=row.op, condition=row.condition, reason=row.because, got=[])
        one = refused.setdefault((row.op, row.condition, row.because), new)
        one.got += [row.got] if row.got else []
        one.count += row.count
        one.bytes += row.bytes
    return sorted(refused.values(), key=lambda one: (-one.count, -one.bytes, one.op))
