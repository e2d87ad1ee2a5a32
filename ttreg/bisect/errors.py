"""The relative error of a call's results: the norm of the difference, divided by the norm of the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Masks hold the largest numbers of a dtype, which bfloat16 may round. They would hide all other errors.
_AS_GOOD_AS_INFINITE = torch.finfo(torch.bfloat16).max


@dataclass(frozen=True)
class Errors:
    """The error of one call's results, with all results seen as one vector.

    For integers and bools it is the share of elements that differ. `own` is the op's error on the reference's inputs,
    `inherited` the norm of the rest. Infinities and NaN that only one side has are counted, and left out of the norms.
    """

    error: float
    own: float | None  # None where the op cannot be given the reference's inputs
    inherited: float | None
    non_finite: int = 0
    own_non_finite: int = 0


def errors(
    got: Sequence[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    alone: Sequence[torch.Tensor],
    noise: Callable[[], float] = float,
    cancels: bool = False,
) -> Errors:
    """The errors of the results `got`. The reference has `wanted`; the op gives `alone` on the reference's inputs.

    For a sum that `cancels`, or a result of 0, errors are relative to `noise()` if that is larger than the norm.
    Tensors at the same place have the same shape. Integers among floating-point results, such as indices, are not
    compared.
    """
    triples = list(zip(got, wanted, alone, strict=True))
    floating = [triple for triple in triples if _is_floating(triple[1])]
    if not floating:
        return _unequal(triples)
    squares, off, own, rest = 0.0, 0.0, 0.0, 0.0
    non_finite = own_non_finite = 0
    for triple in floating:
        g, w, a = map(_in_double, triple)
        squares += float(w.where(w.isfinite(), 0).square().sum())
        square, count = _apart(g, w)
        off, non_finite = off + square, non_finite + count
        square, count = _apart(a, w)
        own, own_non_finite = own + square, own_non_finite + count
        rest += _apart(g, a)[0]
    least = noise() if cancels or not squares else 0.0
    scale = max(math.sqrt(squares), least, torch.finfo(torch.float32).tiny)
    error, own, inherited = (math.sqrt(square) / scale for square in (off, own, rest))
    return Errors(error, own, inherited, non_finite, own_non_finite)


def equal(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether two tensors of one shape have the same numbers; NaN is the same as NaN."""
    return bool(((got == wanted) | ((got != got) & (wanted != wanted))).all())


def same_number(got: Any, wanted: Any, budget: float) -> bool:
    """Whether two numbers are equal; floating-point numbers may differ within the budget."""
    if (
        not isinstance(got, float)
        or not isinstance(wanted, float)
        or not math.isfinite(got)
        or not math.isfinite(wanted)
    ):
        return got == wanted or (got != got and wanted != wanted)
    return abs(got - wanted) <= budget * abs(wanted)


def norm(tensors: Sequence[torch.Tensor]) -> float:
    """The norm of all finite floating-point values, seen as one vector."""
    values = [_in_double(tensor) for tensor in tensors if _is_floating(tensor)]
    return math.sqrt(sum(float(v.where(v.isfinite(), 0).square().sum()) for v in values))


def _unequal(triples: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> Errors:
    count = sum(wanted.numel() for _, wanted, _ in triples) or 1

    def share(of: int, beside: int) -> float:
        return sum(int((triple[of] != triple[beside]).sum()) for triple in triples) / count

    return Errors(share(0, 1), share(2, 1), share(0, 2))


def _apart(x: torch.Tensor, y: torch.Tensor) -> tuple[float, int]:
    """The sum of the squared differences of finite values, and how many of the others differ."""
    finite = x.isfinite() & y.isfinite()
    same = (x == y) | (x.isnan() & y.isnan())
    return float((x - y).where(finite, 0).square().sum()), int((~finite & ~same).sum())


def _is_floating(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _in_double(tensor: torch.Tensor) -> torch.Tensor:
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    values = tensor.detach().double()
    return values.where(values.abs() < _AS_GOOD_AS_INFINITE, values.sign() * math.inf)
