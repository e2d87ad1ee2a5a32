"""A coverage that was saved before, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from ..errors import TtregError
from ..reporting.difference import Change, Difference, difference
from ..reporting.models import DeviceInfo, OpRow, Report, Transfers
from .measure import Coverage


class BaselineError(TtregError):
    """A file is not a coverage that this version of ttreg saved."""


def read_baseline(path: Path) -> Coverage:
    """The coverage in a file that `ttreg coverage --save` wrote.

    Raises BaselineError if the file cannot be read, or holds something else.
    """
    how = "expected what `ttreg coverage --save` writes"
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise BaselineError(f"{path} cannot be read: {error.strerror}; {how}") from None
    except ValueError as error:  # includes a wrong encoding
        raise BaselineError(f"{path} is no JSON ({error}); {how}") from None
    if not isinstance(data, dict) or not {"target", "with_values", "totals", "ops"} <= data.keys():
        raise BaselineError(f"{path} is no coverage; {how}")
    try:
        return Coverage.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BaselineError(f"{path} is no coverage as this version saves it ({where}: {first['msg']})") from None


def save(made: Coverage, path: Path) -> None:
    """Write a coverage to a file, without what was compared."""
    path.write_text(made.model_copy(update={"difference": None}).model_dump_json(indent=1) + "\n", encoding="utf-8")


def changes(before: Coverage, after: Coverage) -> Difference:
    """What changed from one coverage to another, regressions first."""
    found = difference(_as_report(before), _as_report(after))
    if before.whole != after.whole:
        told = [_ending(each) for each in (before, after)]
        kind = "regression" if before.whole else "improvement"
        change = Change(kind=kind, subject="the program", before=told[0], after=told[1])  # type: ignore[arg-type]
        found.changes.insert(0 if before.whole else len(found.changes), change)
        found.changes.sort(key=lambda each: each.kind != "regression")
    return found


def _ending(made: Coverage) -> str:
    if made.stopped is not None:
        return f"stopped at {made.stopped.where}"
    return "failed" if made.failed else "followed to its end"


def _as_report(made: Coverage) -> Report:
    """The coverage in the form of reports, whose differences are known."""
    rows = [OpRow(**row.model_dump(include=set(type(row).model_fields) & set(OpRow.model_fields))) for row in made.ops]
    device = DeviceInfo(name="none", arch="", ttnn_version="", validated=False)
    more = {"device_calls": made.device_calls, "programs": made.programs, "cost": made.cost}
    return Report(device=device, ops=rows, transfers=Transfers(), totals=made.totals, **more)  # type: ignore[arg-type]
