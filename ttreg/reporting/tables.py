"""A report as text and tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from ..amounts import size
from ..conditions import Never, Refusal
from .fitted import Fitted
from .models import OpRow, RankRow, RecordedRow, Report
from .work import Cost, DeviceWork, ProgramCounts, ProgramRow

_SHOWN = 20  # rows of a printed table
_NAMED, _MAKERS = 6, 5  # ttnn functions in the summary, and rows of new programs


def summary(report: Report) -> Text:
    """What moved and what was called, in a few lines."""
    moved = report.transfers
    validated = ", validated" if report.device.validated else ""
    exact = "" if report.device.float32 == "fast" else f", float32 {report.device.float32}"
    traced = ""
    if report.trace is not None:
        took = f"; deciding where calls go took {report.trace.dispatch_seconds * 1e3:.1f} ms"
        traced = f"\ntrace in {report.trace.file}, process {report.trace.process}{took}"
    ranks = f", rank {report.rank.rank} of {report.rank.of}" if report.rank is not None else ""
    if report.ranks:
        ranks = f", {len(report.ranks)} ranks counted together"
    room = ""
    if report.buckets.calls:
        room = f"\n{report.buckets.calls} calls on spare room, padded by {size(report.buckets.padding_bytes)} in all"
    checked = ""
    if report.checked.results:
        lowest = (
            f"; the lowest PCC is {report.checked.lowest_pcc:.6f}, of {report.checked.op}" if report.checked.op else ""
        )
        checked = f"\nchecked: {report.checked.results} results are the host's{lowest}"
    return Text(
        f"{report.device.name} {report.device.arch}, ttnn {report.device.ttnn_version}{validated}{exact}{ranks}\n"
        f"{report.totals}\n"
        f"{''.join(f'in this session only: {said}{chr(10)}' for said in report.overrides)}"
        f"uploads {moved.uploads} ({size(moved.upload_bytes)}), weights {moved.weight_uploads} "
        f"({size(moved.weight_upload_bytes)}), downloads {moved.downloads} ({size(moved.download_bytes)})\n"
        f"moving took {moved.upload_seconds * 1e3:.1f} ms up, {moved.download_seconds * 1e3:.1f} ms down\n"
        f"conversions on the device: {moved.dtype_conversions} of dtype, {moved.layout_conversions} of layout"
        f"{checked}{room}{traced}"
        f"{cost_lines(report.cost, report.programs, report.device_calls)}"
        f"{recorded_lines(report.recorded)}"
    )


def cost_lines(cost: Cost | None, programs: ProgramCounts | None, calls: dict[str, int] | None) -> str:
    """What the device has to do, in a few lines; nothing if a report does not say."""
    if cost is None or programs is None or not calls:
        return ""
    named = ", ".join(f"{name} {count}" for name, count in list(calls.items())[:_NAMED])
    more = f" and {len(calls) - _NAMED} others" if len(calls) > _NAMED else ""
    total, memory = cost.total, cost.memory
    at = f", in {memory.op}" if memory.op else ""
    most = f"device memory: {size(memory.peak_bytes)} at most where it was looked at{at}\n"
    looked = most if memory.peak_bytes else ""
    estimated = ", estimated from shapes and arguments" if programs.estimated else ""
    unseen = f"; of {total.unseen} calls only the name is known" if total.unseen else ""
    return (
        f"\nttnn calls {sum(calls.values())}: {named}{more}\n"
        f"programs: {programs.new} new{estimated}\n"
        f"on the device: read {size(total.bytes_read)}, written {size(total.bytes_written)}, {total.padding:.0%} of it "
        f"padding{unseen}\n"
        f"{looked}"
        f"device time: at least {duration(total.bound_seconds)} on {cost.board}, a bound (bytes over DRAM bandwidth, "
        "products over the matrix unit's peak) and not a prediction"
    )


def recorded_lines(rows: list[RecordedRow]) -> str:
    """What became of recorded functions, in a line for each, with a line for each reason against."""
    lines = []
    for row in rows:
        lines.append(
            f"recorded {row.name}: {row.recordings} recordings with {row.paths} paths, {row.replays} replays of "
            f"{row.steps} steps, {row.checks} compared with the function, {row.segments} segments"
        )
        if row.traced:
            lines.append(f"  {row.traced} replays were one trace of the device")
        shown: Counter[str] = Counter()
        for what, reason, count in row.against():
            shown[what] += 1
            if shown[what] <= _MAKERS:
                lines.append(f"  {what}, {count} times: {reason}")
    return "".join(f"\n{line}" for line in lines)


def duration(seconds: float) -> str:
    """A time in a unit that suits it."""
    for unit, times in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds >= 1 / times or unit == "µs":
            return f"{seconds * times:.3g} {unit}"
    raise AssertionError


def _of_ranks(rows: list[RankRow]) -> Table:
    table = Fitted(title="\nranks", title_justify="left")
    for heading in ("rank", "calls", "on the device", "floating-point on the host", "up", "down"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = map(str, (row.rank, row.calls, row.device, row.host_float))
        table.add_row(*counts, size(row.upload_bytes), size(row.download_bytes))
    return table


def tables(report: Report) -> Iterator[Table | Text]:
    """What each rank did, the ops on the device, and those on the host with the reasons."""
    if report.ranks:
        yield _of_ranks(report.ranks)
    for title, placement in (("on the device", "device"), ("on the host, and why", "host")):
        rows = [row for row in report.ops if row.placement == placement and not row.is_bookkeeping]
        if not rows:
            continue
        table = Fitted(Column("op", overflow="fold"), least=4, title=f"\n{title}", title_justify="left")
        table.add_column("calls", justify="right")
        table.add_column("ms", justify="right")
        table.add_column("inputs" if placement == "device" else "why", overflow="fold")
        worked = placement == "device" and any(row.work for row in rows)
        for heading in WORK if worked else ():
            table.add_column(heading, justify="right")
        lost = any(row.nans_lost for row in rows)
        if lost:
            table.add_column("NaN made infinite", justify="right")
        for row in rows[:_SHOWN]:
            last = size(row.bytes) if placement == "device" else why(row) + there_and_back(row)
            odd = [str(row.nans_lost or "")] if lost else []
            told = work_cells(row.work) if worked else []
            table.add_row(row.op, str(row.count), f"{row.seconds * 1e3:.1f}", escape(last), *told, *odd)
        yield table
        if len(rows) > _SHOWN:
            yield Text(f"and {len(rows) - _SHOWN} shorter rows, which model_dump_json() has", style="dim")
    if report.programs is not None and report.programs.made_by:
        yield from _of_programs(report.programs)


WORK = ("ttnn calls", "moved", "at least", "memory")


def work_cells(work: DeviceWork | None) -> list[str]:
    """What the device had to do for a row: ttnn calls, bytes read and written, the bound on time, memory."""
    if work is None:
        return [""] * len(WORK)
    return [str(work.calls), size(work.bytes_moved), duration(work.bound_seconds), size(work.peak_bytes)]


def _of_programs(programs: ProgramCounts) -> Iterator[Table | Text]:
    """The calls that made the most new programs, and where."""
    table = Fitted(
        Column("new programs", justify="right"), title="\nnew programs of the device", title_justify="left", least=4
    )
    for heading in ("op", "ttnn call", "where"):
        table.add_column(heading, overflow="fold")
    by_line: dict[tuple[str, str, str], list[ProgramRow]] = {}
    for made in programs.made_by:
        by_line.setdefault((made.op, made.call, made.line), []).append(made)
    rows = sorted(by_line.items(), key=lambda item: -sum(made.count for made in item[1]))
    for (op, call, line), makers in rows[:_MAKERS]:
        count = sum(made.count for made in makers)
        said = f"{call}({makers[0].operands})" if call else ""
        others = f" and {len(makers) - 1} more of other shapes" if len(makers) > 1 else ""
        table.add_row(str(count), op, escape(said + others), escape(short(line)))
    yield table
    if len(rows) > _MAKERS:
        yield Text(f"and {len(rows) - _MAKERS} more lines, which model_dump_json() has", style="dim")


def short(line: str) -> str:
    """The file and line without the folders above the last."""
    return "/".join(line.split("/")[-2:])


def why(row: OpRow) -> str:
    """Why the row's calls were placed as they were, in one line."""
    if row.condition == str(Never()):
        return row.reason
    return str(Refusal(row.condition, row.got, row.because))


def there_and_back(row: OpRow) -> str:
    """What a call on the host moved between host and device."""
    if not row.bytes_down:
        return ""
    again = f", {size(row.bytes_up)} went up again" if row.bytes_up else ""
    return f" ({size(row.bytes_down)} came down for it{again})"
