"""Reports as HTML: a page that needs no network, and a short form for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..amounts import size
from ..conditions import Refusal
from .difference import HEADINGS, difference
from .models import OpRow, Report
from .modules import by_module, memory
from .tables import duration, short, there_and_back, why
from .timeline import WIDTH, NoTimelineError, timeline

if TYPE_CHECKING:
    from jinja2 import Environment

PLACEMENTS = ("device", "host", "local", "decomposed", "view")
_SHOWN = 15  # rows of the short form


def page(report: Report, name: str, before: tuple[Report, str] | None = None, folder: Path | None = None) -> str:
    """A self-contained page of a report called `name`, and of what changed since another.

    If a trace is not where it was written, it is looked for in `folder`.
    """
    drawn = missing = None
    try:
        drawn = timeline(report, folder)
    except NoTimelineError as reason:
        missing = str(reason)
    older, older_name = before or (None, None)
    return (
        _environment()
        .get_template("page.html")
        .render(
            _shown(report),
            name=name,
            older=older,
            older_name=older_name,
            difference=difference(older, report) if older is not None else None,
            headings=HEADINGS,
            moves=_moves(report, older),
            modules=by_module(report),
            timeline=drawn,
            no_timeline=missing,
            width=WIDTH,
        )
    )


def compact(report: Report) -> str:
    """The form for notebooks: no scripts, and the colours of what is around it."""
    return _environment().get_template("compact.html").render(_shown(report), limit=_SHOWN)


@dataclass
class Reason:
    """A reason for running on the host, and the calls that it applies to."""

    text: str
    ops: dict[str, int]  # calls by op
    bytes: int

    @property
    def calls(self) -> int:
        """Calls of all of the ops."""
        return sum(self.ops.values())


@dataclass
class Move:
    """Transfers of one kind, and each report's bytes and their share of the most there are."""

    name: str
    figures: list[tuple[str, str, float]]  # a report's name, what is said, and 0 to 1


def _shown(report: Report) -> dict[str, Any]:
    calls = report.totals.model_dump()
    return {
        "report": report,
        "rows": [row for row in report.ops if not row.is_bookkeeping],
        "counts": [(placement, calls[placement]) for placement in PLACEMENTS if calls[placement]],
        "reasons": _reasons(report.ops),
        "floats": report.totals.device + report.totals.host_float,
    }


def _reasons(rows: list[OpRow]) -> list[Reason]:
    """The reasons for running on the host. A condition counts as one reason, whatever values it refused."""
    alike: dict[tuple[str, str], list[OpRow]] = {}
    for row in rows:
        if row.placement == "host" and not row.is_bookkeeping:
            alike.setdefault((row.condition, row.because), []).append(row)
    found = []
    for (condition, because), those in alike.items():
        met = list(dict.fromkeys(row.got for row in those))
        several = Refusal(condition, f"{met[0]}, and {len(met) - 1} more", because)
        reason = Reason(why(those[0]) if len(met) == 1 else str(several), {}, sum(row.bytes for row in those))
        for row in those:
            reason.ops[row.op] = reason.ops.get(row.op, 0) + row.count
        found.append(reason)
    return sorted(found, key=lambda reason: (-reason.calls, reason.text))


def _moves(report: Report, older: Report | None) -> list[Move]:
    reports = [("before", older), ("now", report)] if older is not None else [("", report)]
    kinds = (("uploads", "upload"), ("weights", "weight_upload"), ("downloads", "download"))
    figures: dict[str, list[tuple[str, int, int]]] = {}
    for name, field in kinds:
        moved = [(label, each.transfers) for label, each in reports]
        figures[name] = [(label, getattr(t, f"{field}s"), getattr(t, f"{field}_bytes")) for label, t in moved]
    most = max(nbytes for each in figures.values() for _, _, nbytes in each) or 1
    return [
        Move(name, [(label, f"{count} ({size(nbytes)})", nbytes / most) for label, count, nbytes in each])
        for name, each in figures.items()
    ]


@lru_cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {
        "size": size,
        "why": why,
        "there_and_back": there_and_back,
        "duration": duration,
        "memory": memory,
        "line": short,
    }
    return made
