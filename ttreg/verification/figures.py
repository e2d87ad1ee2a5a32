"""Makes the package's figures from the values of a run, and marks figures of lowerings that have changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import torch

from ..blocks.mode import device_mode
from ..errors import TtregError
from ..measured import Errors, Figures, Measured, Measurement, Part, SampleFigures, SweepFigures
from ..registry import Entry, registry
from ..samples import Sample, one_thread
from .calls import Calls
from .measure import written
from .sweep import sweeps
from .trial import trial
from .values_file import Run, as_usual
from .verify import Verdict

_SHOWN = 8  # special values that differ, of one op and dtype


def digest_of(call: str) -> str:
    """A short digest of an aten call's text."""
    return hashlib.sha256(call.encode()).hexdigest()[:8]


def merged(before: Measured, run: Run, verdicts: Sequence[Verdict]) -> Measured:
    """The figures, updated with those of a run. These replace earlier figures of the same entries and dtypes.

    Raises TtregError for a run with unusual settings, because the figures describe entries under the default settings.
    """
    if run.settings:
        said = ", ".join(f"{name}={value}" for name, value in run.settings.items())
        raise TtregError(f"the values were measured with {said}; figures are of the usual settings")
    runs, found = list(before.runs), dict(before.figures)
    fresh: dict[tuple[str, str], Figures] = {}
    for verdict in verdicts:
        values = verdict.values
        if values is None or not verdict.accepted or values.status == "unavailable":
            continue
        measurement = Measurement(on=run.on, arch=verdict.arch, ttnn=run.ttnn, taken=run.taken)
        if measurement not in runs:
            runs.append(measurement)
        number = runs.index(measurement)
        figures = fresh.setdefault((verdict.op, values.dtype), Figures(op=verdict.op, dtype=values.dtype, run=number))
        _add(figures, verdict, number)
    for key, figures in fresh.items():
        earlier = found.get(key)
        if earlier is not None and earlier.samples and not figures.samples:
            figures.samples, figures.run = earlier.samples, earlier.run
        if earlier is not None and figures.sweep is None:
            figures.sweep = earlier.sweep
        found[key] = figures
    return Measured(runs=runs, figures=found)


def _add(figures: Figures, verdict: Verdict, run: int) -> None:
    values = verdict.values
    assert values is not None
    call = digest_of(values.call)
    if verdict.sample is not None:
        failed = verdict.error if values.status not in ("ok", "differs") or not values.outputs else ""
        pcc = values.pcc()
        errors = _rounded(values.worst())
        sample = SampleFigures(
            **errors.model_dump(), call=call, calls=values.calls, pcc=1.0 if pcc is None else pcc, failed=failed
        )
        figures.samples.append(sample)
    elif (sweep := values.sweep) is not None:
        figures.sweep = SweepFigures(
            call=call,
            calls=values.calls,
            usual=_rounded(sweep.usual) if sweep.usual is not None else None,
            tried=sweep.tried,
            differ=sweep.differ,
            special=sweep.special[:_SHOWN],
            run=run,
        )


def _rounded(errors: Errors) -> Errors:
    return Errors.model_validate({name: float(f"{value:.3g}") for name, value in errors.model_dump().items()})


def marked(measured: Measured) -> Iterator[Figures]:
    """The figures, marked where the lowering now makes other ttnn calls than those that were measured.

    The calls are found on the emulated device, which takes a fraction of a second for each op.
    """
    entries = {str(entry.op): entry for entry in registry.matching((), "device")}
    with one_thread():
        for figures in measured.figures.values():
            entry, run = entries.get(figures.op), measured.runs[figures.run]
            marks = figures.model_copy(deep=True)
            _mark(marks.samples, _calls(entry, figures, run.arch) if entry is not None else {})
            if marks.sweep is not None:
                arch = measured.runs[marks.sweep.run].arch
                _mark([marks.sweep], _calls_of_sweep(entry, figures.dtype, arch) if entry is not None else {})
            yield marks


def _mark(parts: Iterable[Part], now: dict[str, str]) -> None:
    for part in parts:
        part.calls = part.calls or now.get(part.call, "")  # a sample without an answer has no calls
        part.changed = now.get(part.call) != part.calls


def _calls(entry: Entry, figures: Figures, arch: str) -> dict[str, str]:
    """Digests of the ttnn calls that the measured samples make now, by the digests of their aten calls."""
    wanted = {sample.call for sample in figures.samples}
    found = {}
    for sample in entry.samples():
        call = digest_of(written(entry, sample))
        if call in wanted and call not in found:
            found[call] = _digest(entry, sample, arch)
    return found


def _calls_of_sweep(entry: Entry, dtype: str, arch: str) -> dict[str, str]:
    return {
        digest_of(written(entry, inputs.sample)): _digest(entry, inputs.sample, arch)
        for inputs in sweeps(entry, getattr(torch, dtype))
    }


def _digest(entry: Entry, sample: Sample, arch: str) -> str:
    """The digest of the calls; none for a sample that the entry refuses."""
    with device_mode(**as_usual(device="emulated", arch=arch)) as session:
        calls = Calls(session)
        return calls.digest() if trial(session, entry, sample).refusal is None else ""
