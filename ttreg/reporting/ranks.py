"""The reports of a program's ranks, one of each process, counted together."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from .models import Buckets, Checked, OpRow, Rank, RankRow, Report, Totals, Transfers
from .work import Cost, DeviceWork, ProgramCounts, ProgramRow

AnyReport = TypeVar("AnyReport", bound=Report)
Sums = TypeVar("Sums", bound=BaseModel)


def rank_of_process() -> Rank | None:
    """The rank of this process, by its process group or what `torchrun` tells it; None if it is the only one."""
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        rank, of = dist.get_rank(), dist.get_world_size()
    else:
        told = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
        rank, of = map(int, told) if all(text.isdecimal() for text in told) else (0, 1)
    return Rank(rank=rank, of=of) if of > 1 else None


def are_ranks(reports: Sequence[Report]) -> bool:
    """Whether the reports are of different ranks of one program."""
    ranks = [report.rank for report in reports]
    known = [rank for rank in ranks if rank is not None]
    apart = len({rank.rank for rank in known}) == len(known) == len(reports) > 1
    return apart and len({rank.of for rank in known}) == 1


def merged(reports: Sequence[AnyReport]) -> AnyReport:
    """One report of all: calls, times, bytes and programs are sums; of memory, it has the most of one device."""
    first = reports[0]
    ordered = sorted(reports, key=lambda report: report.rank.rank if report.rank is not None else 0)
    return type(first)(
        device=first.device,
        ops=_rows(ordered),
        transfers=_sum(Transfers, [report.transfers for report in ordered]),
        totals=_sum(Totals, [report.totals for report in ordered]),
        buckets=_sum(Buckets, [report.buckets for report in ordered]),
        checked=_checked([report.checked for report in ordered]),
        device_calls=_names(report.device_calls or {} for report in ordered),
        programs=_programs([report.programs for report in ordered if report.programs is not None]),
        cost=_cost([report.cost for report in ordered if report.cost is not None]),
        recorded=[row for report in ordered for row in report.recorded],
        lines=[row for report in ordered for row in report.lines],
        ranks=[RankRow.of_report(report) for report in ordered],
    )


def _sum(kind: type[Sums], parts: Sequence[Sums]) -> Sums:
    return kind(**{name: sum(getattr(part, name) for part in parts) for name in kind.model_fields})


def _checked(parts: Sequence[Checked]) -> Checked:
    lowest = min(parts, key=lambda part: part.lowest_pcc)
    return lowest.model_copy(update={"results": sum(part.results for part in parts)})


def _rows(reports: Sequence[Report]) -> list[OpRow]:
    rows: dict[tuple, OpRow] = {}
    for row in (row for report in reports for row in report.ops):
        key = row.op, row.placement, row.condition, row.reason, row.got
        known = rows.get(key)
        if known is None:
            rows[key] = row.model_copy()
            continue
        for name in ("count", "seconds", "bytes", "bytes_down", "bytes_up", "nans_lost"):
            setattr(known, name, getattr(known, name) + getattr(row, name))
        if row.work is not None:
            known.work = (known.work or DeviceWork()).and_also(row.work)
    return sorted(rows.values(), key=lambda row: (-row.seconds, row.op))


def _names(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common())


def _programs(parts: Sequence[ProgramCounts]) -> ProgramCounts | None:
    if not parts:
        return None
    rows: dict[tuple, ProgramRow] = {}
    for row in (row for part in parts for row in part.made_by):
        known = rows.setdefault((row.op, row.call, row.operands, row.line), row.model_copy(update={"count": 0}))
        known.count += row.count
    made_by = sorted(rows.values(), key=lambda row: -row.count)
    return ProgramCounts(new=sum(p.new for p in parts), estimated=any(p.estimated for p in parts), made_by=made_by)


def _cost(parts: Sequence[Cost]) -> Cost | None:
    if not parts:
        return None
    total, besides = DeviceWork(), dict[str, DeviceWork]()
    for part in parts:
        total = total.and_also(part.total)
        for label, work in part.besides.items():
            besides[label] = besides.get(label, DeviceWork()).and_also(work)
    most = max((part.memory for part in parts), key=lambda memory: memory.peak_bytes)
    return Cost(board=parts[0].board, total=total, besides=besides, memory=most)
