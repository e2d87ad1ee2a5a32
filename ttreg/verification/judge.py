"""Says where a chip's values are worse than the package's figures for the entry."""

from __future__ import annotations

import torch

from ..measured import Errors, Figures
from .values import Values
from .verify import Verdict

# A card may round differently from the simulator: up to twice the stated error, plus a few roundings, is accepted.
_FACTOR, _ROUNDINGS = 2.0, 4


def judged(verdict: Verdict, figures: Figures | None) -> Verdict:
    """The verdict. If it is worse than the figures, `error` says how.

    Without a figure for this lowering, `error` says whether values are outside the dtype's tolerance.
    """
    values = verdict.values
    if verdict.error or values is None or not verdict.accepted:
        return verdict
    sweep = figures.of_sweep() if figures is not None else None
    of_samples = figures.of_samples() if figures is not None else None
    stated = of_samples if verdict.sample is not None else sweep.usual if sweep is not None else None
    error = _outside(values) if stated is None else _worse(values, values.worst(), stated)
    if not error and sweep is not None and values.sweep is not None and values.sweep.differ > sweep.differ:
        error = f"{values.sweep.differ} special values differ, {sweep.differ} are stated"
    return verdict.model_copy(update={"error": error})


def _outside(values: Values) -> str:
    found = values.worst()
    if not found.wrong and not found.nonfinite:
        return ""
    return f"{found.wrong} values outside of the tolerance, the largest error {found.max_abs:.3g}; no figure is stated"


def _worse(values: Values, found: Errors, stated: Errors) -> str:
    if found.nonfinite > stated.nonfinite:
        return f"{found.nonfinite} values are NaN or infinite on one side only, {stated.nonfinite} are stated"
    dtype = getattr(torch, values.dtype)
    rounding = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    relative = found.max_rel > _FACTOR * stated.max_rel + _ROUNDINGS * rounding
    if relative and found.max_abs > _FACTOR * stated.max_abs:
        return f"worst relative error {found.max_rel:.2e}, {stated.max_rel:.2e} is stated"
    return ""
