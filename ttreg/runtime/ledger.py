"""The decisions that a session keeps, and its counts of calls and transfers."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..conditions import Refusal
from ..costs.work import Amount
from ..forks import new_rlock
from ..plan import Placement, Plan

if TYPE_CHECKING:
    from ..report import Buckets, Checked, OpRow, Totals, Transfers

# A plan takes about 2 KiB. A detector needs a few hundred new plans for each new image size, so plans for dozens of
# sizes fit.
_KEPT_PLANS = 1 << 14

# Counts of evicted plans are kept by what each refusal met. A program may multiply by a new number at every step, so
# beyond this limit everything that a refusal meets counts as "others".
_KEPT_TALLIES, _ANY = 1 << 14, "others"

READS = frozenset(("aten._local_scalar_dense.default", "aten.equal.default"))

_log = logging.getLogger(__name__)


@dataclass
class _Tally:
    count: int = 0
    seconds: float = 0.0
    nbytes: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    amount: Amount = field(default_factory=Amount)

    def add(self, other: _Tally) -> None:
        self.count += other.count
        self.seconds += other.seconds
        self.nbytes += other.nbytes
        self.bytes_down += other.bytes_down
        self.bytes_up += other.bytes_up
        self.amount.add(other.amount)


@dataclass
class _Moved:
    count: int = 0
    nbytes: int = 0
    seconds: float = 0.0


_Tallies = dict[tuple[str, Placement, str, str, str, bool, bool], _Tally]


class Ledger:
    """Plans by signature, each with its own counters, and the totals of evicted plans."""

    def __init__(self) -> None:
        self._lock = new_rlock()  # threads may share a session; counting the call of a kept plan needs none
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._retired: deque[Plan] = deque()
        self.find = self._plans.get  # the kept decision for a signature, or None; every call asks
        self._tallies: _Tallies = {}
        self._conversions = {"dtype_conversions": 0, "layout_conversions": 0}
        self._lost: Counter[str] = Counter()
        self._in_room = _Moved()
        self._held, self._lowest = 0, (1.0, "")
        self.told: Callable[[int], None] | None = None  # of the bytes of each weight that has gone to the device
        self._moved = {what: _Moved() for what in ("uploads", "weight_uploads", "downloads")}

    def keep(self, signature: tuple, plan: Plan) -> Plan:
        """Keep a decision, unless another thread has already kept one for this signature; return the kept one.

        The oldest plans are evicted; their counts stay.
        """
        _log.debug("%s: %s%s", plan.op, plan.placement, f", {plan.refusal}" if plan.refusal is not None else "")
        with self._lock:
            kept = self._plans.setdefault(signature, plan)
            if len(self._plans) > _KEPT_PLANS:
                _add(self._tallies, self._plans.popitem(last=False)[1], _KEPT_TALLIES)
        return kept

    def retire(self) -> None:
        """Decide everything anew from now on. What the plans have counted, and calls that follow one still, count."""
        with self._lock:
            self._retired.extend(self._plans.values())
            self._plans.clear()
            while len(self._retired) > _KEPT_PLANS:
                _add(self._tallies, self._retired.popleft(), _KEPT_TALLIES)

    def plans(self) -> list[Plan]:
        """The plans that are kept."""
        with self._lock:
            return list(self._plans.values())

    def tally(self, op: Any, placement: Placement, refusal: Refusal | None, *, floating: bool = False) -> None:
        """Count one call that has no kept plan."""
        with self._lock:
            _add(self._tallies, Plan(op, placement, refusal, floating=floating, count=1), _KEPT_TALLIES)

    def moved(self, what: str, nbytes: int, seconds: float) -> None:
        """Count a transfer: one of "uploads", "weight_uploads" and "downloads"."""
        moved = self._moved[what]
        moved.count += 1
        if self.told is not None and what == "weight_uploads":
            self.told(nbytes)
        moved.nbytes += nbytes
        moved.seconds += seconds

    def lost(self, op: str, nans: int) -> None:
        """Count NaNs that a check found the device to hold as infinities in an op's bfloat16 results."""
        with self._lock:
            self._lost[op] += nans

    def held(self, op: str, correlation: float | None) -> None:
        """Count a result that a check found to be the host's, and keep the lowest PCC; None has no bearing."""
        with self._lock:
            self._held += 1
            if correlation is not None:
                self._lowest = min(self._lowest, (correlation, op))

    def checked(self) -> Checked:
        """The results that were held to the host's."""
        from ..report import Checked

        return Checked(results=self._held, lowest_pcc=self._lowest[0], op=self._lowest[1])

    def padded(self, nbytes: int) -> None:
        """Count a call that worked on spare room, and the bytes by which that made its tensors larger in tiles."""
        self._in_room.count += 1
        self._in_room.nbytes += nbytes

    def buckets(self) -> Buckets:
        """The calls that worked on spare room."""
        from ..report import Buckets

        return Buckets(calls=self._in_room.count, padding_bytes=self._in_room.nbytes)

    @property
    def bytes_down(self) -> int:
        """How many bytes have been downloaded."""
        return self._moved["downloads"].nbytes

    def converted(self, what: str) -> None:
        """Count a conversion on the device: "dtype_conversions" or "layout_conversions"."""
        self._conversions[what] += 1

    def rows(self, arch: str = "") -> tuple[list[OpRow], Totals]:
        """The counts by op, placement and reason, the longest-running first, and their totals.

        What the device had to do is in the time of the board with a chip of `arch`.
        """
        from ..report import DeviceWork, OpRow, Totals

        tallies = self._all()
        rows: dict[tuple, OpRow] = {}
        totals = Totals()
        for (op, placement, condition, reason, got, host_float, no_dtype), tally in tallies.items():
            totals.calls += tally.count
            setattr(totals, placement, getattr(totals, placement) + tally.count)
            totals.host_float += tally.count if host_float else 0
            totals.host_no_dtype += tally.count if host_float and no_dtype else 0
            new = OpRow(op=op, placement=placement, condition=condition, reason=reason, got=got)
            row = rows.setdefault((op, placement, condition, reason, got), new)
            row.count += tally.count
            row.seconds += tally.seconds
            row.bytes += tally.nbytes
            row.bytes_down += tally.bytes_down
            row.bytes_up += tally.bytes_up
            if tally.amount.calls:
                row.work = (row.work or DeviceWork()).plus(tally.amount, arch)
            row.nans_lost = self._lost[op] if placement == "device" else 0
        return sorted((r for r in rows.values() if r.count), key=lambda row: (-row.seconds, row.op)), totals

    def amount(self) -> Amount:
        """What the device had to do for all ops."""
        total = Amount()
        for tally in self._all().values():
            total.add(tally.amount)
        return total

    def floating_fallbacks(self) -> list[str]:
        """The ops whose floating-point calls ran on the host, except those that only read a number from a tensor."""
        tallies = self._all().items()
        return sorted(
            {op for (op, *_, host_float, _), tally in tallies if host_float and tally.count and op not in READS}
        )

    def _all(self) -> _Tallies:
        with self._lock:
            tallies: _Tallies = {}
            for key, tally in self._tallies.items():
                tallies[key] = _Tally()
                tallies[key].add(tally)
            for plan in (*self._retired, *self._plans.values()):
                _add(tallies, plan)
        return tallies

    def transfers(self) -> Transfers:
        """The transfers between host and device."""
        from ..report import Transfers

        uploads, weights, downloads = self._moved.values()
        return Transfers(
            uploads=uploads.count,
            upload_bytes=uploads.nbytes,
            weight_uploads=weights.count,
            weight_upload_bytes=weights.nbytes,
            downloads=downloads.count,
            download_bytes=downloads.nbytes,
            upload_seconds=uploads.seconds + weights.seconds,
            download_seconds=downloads.seconds,
            **self._conversions,
        )


def _add(tallies: _Tallies, plan: Plan, most: int | None = None) -> None:
    """Add the plan's counts to the tallies; with `most` tallies already, count what its refusal met as "others"."""
    refusal = plan.refusal or Refusal("")
    key = _key(plan, refusal)
    if most is not None and len(tallies) >= most and refusal.got and key not in tallies:
        key = _key(plan, refusal.with_got(_ANY))
    tally = tallies.setdefault(key, _Tally())
    tally.count += plan.count
    tally.seconds += plan.seconds
    tally.nbytes += plan.nbytes * plan.count
    tally.bytes_down += plan.bytes_down
    tally.bytes_up += plan.bytes_up
    for work in tuple(plan.works):
        tally.amount.add(work.amount())


def _key(plan: Plan, refusal: Refusal) -> tuple[str, Placement, str, str, str, bool, bool]:
    reason = refusal.because or str(refusal) or getattr(plan.entry, "note", "")
    return str(plan.op), plan.placement, refusal.condition, reason, refusal.got, plan.host_float, plan.no_dtype
