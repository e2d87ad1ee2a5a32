"""What changed from one report to another: what got worse, what got better, and what is new or gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

from ..amounts import size
from .models import OpRow, Report, Totals
from .tables import why

Kind = Literal["regression", "improvement", "moved", "new", "gone"]


class Change(BaseModel):
    """One difference: of an op, of the share, or of a kind of transfer."""

    kind: Kind  # "moved": other placements, but as many calls on the host
    subject: str
    before: str
    after: str
    reason: str = ""  # why the host runs the op, where it does
    is_op: bool = False


class Difference(BaseModel):
    """The changes, regressions first, and how many ops run where they ran."""

    changes: list[Change]
    unchanged: int

    @property
    def is_worse(self) -> bool:
        """Whether something got worse."""
        return any(change.kind == "regression" for change in self.changes)

    def groups(self) -> list[tuple[Kind, list[Change]]]:
        """The changes of each kind that there are, in the order of their headings."""
        found = ((kind, [change for change in self.changes if change.kind == kind]) for kind in HEADINGS)
        return [(kind, changes) for kind, changes in found if changes]


HEADINGS: dict[Kind, str] = {
    "regression": "worse",
    "improvement": "better",
    "moved": "elsewhere, the host's part unchanged",
    "new": "new",
    "gone": "gone",
}
_NAMED = 3  # functions or ops that are named with a change
_TRANSFERS = {
    "uploads": ("uploads", "upload_bytes"),
    "uploads of weights": ("weight_uploads", "weight_upload_bytes"),
    "downloads": ("downloads", "download_bytes"),
    "conversions of dtype": ("dtype_conversions", None),
    "conversions of layout": ("layout_conversions", None),
}


def difference(before: Report, after: Report) -> Difference:
    """What changed from `before` to `after`. Times are left out: they differ from run to run."""
    old, new = _Ops(before), _Ops(after)
    found = [change for op in {**new.rows, **old.rows} if (change := _of_op(op, old, new)) is not None]
    # Those that weigh most on the host come first.
    found.sort(key=lambda change: (-max(new.bytes(change.subject), old.bytes(change.subject)), change.subject))
    found += [*_of_share(before.totals, after.totals), *_of_transfers(before, after), *_of_cost(before, after)]
    found.sort(key=lambda change: list(HEADINGS).index(change.kind))
    ops = old.rows.keys() | new.rows.keys()
    return Difference(changes=found, unchanged=len(ops) - sum(change.is_op for change in found))


class _Ops:
    """A report's rows and calls by op."""

    def __init__(self, report: Report):
        self.rows: dict[str, list[OpRow]] = {}
        for row in report.ops:
            self.rows.setdefault(row.op, []).append(row)

    def calls(self, op: str) -> Counter[str]:
        """The op's calls by placement."""
        counts: Counter[str] = Counter()
        for row in self.rows[op]:
            counts[row.placement] += row.count
        return counts

    def reason(self, op: str) -> str:
        """Why the host runs calls of the op."""
        return "; ".join(dict.fromkeys(why(row) for row in self.rows[op] if row.placement == "host"))

    def bytes(self, op: str) -> int:
        """Bytes of inputs that calls of the op on the host had."""
        return sum(row.bytes for row in self.rows.get(op, ()) if row.placement == "host")


def _of_op(op: str, old: _Ops, new: _Ops) -> Change | None:
    if op not in old.rows:
        return Change(
            kind="new", subject=op, before="", after=_placed(new.calls(op)), reason=new.reason(op), is_op=True
        )
    if op not in new.rows:
        return Change(kind="gone", subject=op, before=_placed(old.calls(op)), after="", is_op=True)
    a, b = old.calls(op), new.calls(op)
    if all(a[placement] * b.total() == b[placement] * a.total() for placement in a.keys() | b.keys()):
        return None
    more_on_host = b["host"] * a.total() - a["host"] * b.total()
    kind: Kind = "regression" if more_on_host > 0 else "improvement" if more_on_host < 0 else "moved"
    return Change(kind=kind, subject=op, before=_placed(a), after=_placed(b), reason=new.reason(op), is_op=True)


def _placed(calls: Counter[str]) -> str:
    return ", ".join(f"{count} {placement}" for placement, count in calls.items() if count)


def _of_share(before: Totals, after: Totals) -> Iterator[Change]:
    a, b = before.share, after.share
    if a is not None and b is not None and a != b:
        kind: Kind = "regression" if b < a else "improvement"
        digits = 1 if f"{a:.1%}" != f"{b:.1%}" else 4
        subject = "floating-point calls on the device"
        yield Change(kind=kind, subject=subject, before=f"{a:.{digits}%}", after=f"{b:.{digits}%}")


def _of_transfers(before: Report, after: Report) -> Iterator[Change]:
    for subject, fields in _TRANSFERS.items():
        a, b = ([getattr(report.transfers, name) for name in fields if name] for report in (before, after))
        if a != b:
            kind: Kind = "regression" if any(y > x for x, y in zip(a, b, strict=True)) else "improvement"
            yield Change(kind=kind, subject=subject, before=_moved(a), after=_moved(b))


def _of_cost(before: Report, after: Report) -> Iterator[Change]:
    """What the device has to do: more is worse. Reports of older versions do not say."""
    old, new = before.device_calls, after.device_calls
    if old is not None and new is not None:
        yield from _more_or_less("ttnn calls", sum(old.values()), sum(new.values()), _by_name(old, new))
    a, b = before.programs, after.programs
    if a is not None and b is not None and a.estimated == b.estimated:
        yield from _more_or_less("new programs", a.new, b.new, _by_name(a.by_op(), b.by_op()))
    if before.cost is not None and after.cost is not None:
        moved = before.cost.total.bytes_moved, after.cost.total.bytes_moved
        if size(moved[0]) != size(moved[1]):
            yield from _more_or_less("bytes moved on the device", *moved, "", size)


def _more_or_less(subject: str, a: int, b: int, why: str, said: Callable[[int], str] = str) -> Iterator[Change]:
    if a != b:
        kind: Kind = "regression" if b > a else "improvement"
        yield Change(kind=kind, subject=subject, before=said(a), after=said(b), reason=why)


def _by_name(old: Mapping[str, int], new: Mapping[str, int]) -> str:
    """The names whose numbers changed most."""
    changes = {name: new.get(name, 0) - old.get(name, 0) for name in (*old, *new)}
    most = sorted((name for name in changes if changes[name]), key=lambda name: -abs(changes[name]))
    more = f", and {len(most) - _NAMED} others" if len(most) > _NAMED else ""
    return ", ".join(f"{name} {changes[name]:+}" for name in most[:_NAMED]) + more


def _moved(figures: list[int]) -> str:
    count, *nbytes = figures
    return f"{count} ({size(nbytes[0])})" if nbytes else str(count)
