"""`ttreg verify --values`: what a chip computes of every accepted sample, beside the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..errors import TtregError
from .shared import answer, bad_usage, check_ops, check_writable, console, table, tracked

if TYPE_CHECKING:
    from ..verification.verify import Verdict


def verify_values(
    ops: Sequence[str],
    keywords: dict[str, Any],
    simulator: Path | None,
    out: Path | None,
    special: bool,
    limit: float,
    workers: int,
    json: bool,
) -> NoReturn:
    """Run the samples on the chip, compare each with the CPU, and exit with 1 if one is worse than its figure."""
    from ..devices import require_chip, require_ttnn
    from ..measured import packaged
    from ..verification import measure, values_file
    from ..verification.judge import judged

    check_ops(ops)
    settings = measure.chosen(keywords)
    _use(simulator)
    require_ttnn()
    require_chip()
    before = _resumed(out, values_file.Run.of_here(settings))
    known = packaged().figures
    wanted = list(measure.tasks(ops, special))
    todo = measure.not_in(before, wanted)
    fresh: Iterator[Verdict] = measure.measure(todo, settings, limit, workers)
    if out is not None:
        fresh = values_file.appended(out, fresh)
    keys = {task.key for task in wanted}
    verdicts = [verdict for verdict in before if measure.key_of(verdict) in keys]
    verdicts += tracked(fresh, "on the chip", len(todo))
    verdicts = [judged(v, known.get((v.op, v.values.dtype))) for v in verdicts if v.accepted and v.values is not None]
    if json:
        for verdict in verdicts:
            typer.echo(verdict.model_dump_json())
    else:
        _show(verdicts)
        _summarise(verdicts, len(wanted) - len(todo))
    answer(not any(verdict.error for verdict in verdicts))


def _use(simulator: Path | None) -> None:
    """Tell the worker processes where the simulator is."""
    if simulator is None:
        return
    if not simulator.exists():
        bad_usage(f"there is no {simulator}", "--simulator")
    os.environ["TT_METAL_SIMULATOR"] = str(simulator.resolve())
    os.environ.setdefault("TT_METAL_SLOW_DISPATCH_MODE", "1")  # Tenstorrent's simulator has no other


def _resumed(out: Path | None, run: Any) -> list[Verdict]:
    from ..verification.values_file import resume

    if out is None:
        return []
    check_writable(out, "--out")
    try:
        return resume(out, run)
    except TtregError as error:
        bad_usage(str(error), "--out")


def _show(verdicts: Sequence[Verdict]) -> None:
    from rich.markup import escape

    samples = [v for v in verdicts if v.sample is not None and v.values is not None and v.values.outputs]
    shown = table("op", "sample", "call", "PCC", "max abs", "max rel", "ulps", "non-finite")
    for v in samples:
        shown.add_row(v.op, str(v.sample), escape(_values(v).call), *_measures(v))
    if samples:
        console().print(shown)
    sweeps = [v for v in verdicts if v.values is not None and v.values.sweep is not None]
    shown = table("op", "dtype", "max abs", "max rel", "ulps", "special values that differ")
    for v in sweeps:
        sweep = v.values.sweep if v.values is not None else None
        assert sweep is not None
        first = "; ".join(map(str, sweep.special[:3]))
        more = f"{sweep.differ} of {sweep.tried}{': ' if first else ''}{first}{'; ...' if sweep.differ > 3 else ''}"
        _, absolute, relative, ulps, _ = _measures(v)
        shown.add_row(v.op, _values(v).dtype, absolute, relative, ulps, escape(more))
    if sweeps:
        shown.title = "on [-10, 10], and special values"
        console().print(shown)
    wrong = [v for v in verdicts if v.error]
    shown = table("op", "sample", "dtype", "what is wrong", title="worse than stated, or without values")
    for v in wrong:
        status = _values(v).status
        said = v.error if status in ("ok", "differs") else f"{status}: {v.error}"
        shown.add_row(v.op, "special values" if v.sample is None else str(v.sample), _values(v).dtype, escape(said))
    if wrong:
        console().print(shown)


def _values(verdict: Verdict) -> Any:
    return verdict.values


def _measures(verdict: Verdict) -> tuple[str, str, str, str, str]:
    values = _values(verdict)
    worst, pcc = values.worst(), values.pcc()
    numbers = (f"{number:.3g}" for number in (worst.max_abs, worst.max_rel, worst.ulps))
    return ("" if pcc is None else f"{pcc:.7f}", *numbers, str(worst.nonfinite))  # type: ignore[return-value]


def _summarise(verdicts: Sequence[Verdict], known: int) -> None:
    wrong = sum(bool(verdict.error) for verdict in verdicts)
    statuses = [_values(verdict).status for verdict in verdicts]
    without = len(statuses) - statuses.count("ok") - statuses.count("differs")
    where = ", ".join(sorted({verdict.arch for verdict in verdicts} - {""})) or "no chip"
    typer.echo(
        f"{len(verdicts)} accepted samples on {where}: {statuses.count('ok')} within the tolerance, "
        f"{statuses.count('differs')} outside of it, {without} without values; "
        f"{wrong} worse than stated or without values{f'; {known} were in the file' if known else ''}"
    )
