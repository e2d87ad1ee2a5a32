"""Compares a device result with the host's: Pearson correlation (PCC), largest differences, statistics, tolerances."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Relative and absolute tolerance of one op by dtype: a few roundings of the dtype (eps is 1.2e-7 and 7.8e-3).
TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (2e-2, 2e-2)}


def pcc(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson correlation of two tensors of one shape, in float64; NaN and infinities have to be at the same places.

    Where a correlation is not defined (constant or empty tensors) it is 1.0 if the values are close, else 0.0.
    """
    x, y = _in_double(a), _in_double(b)
    finite = x.isfinite()
    if not torch.equal(finite, y.isfinite()) or not torch.equal(x[~finite].nan_to_num(), y[~finite].nan_to_num()):
        return 0.0
    x, y = x[finite], y[finite]
    if x.numel() < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return 1.0 if close(a, b) else 0.0
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x.norm() * y.norm()))


@dataclass(frozen=True)
class OneSided:
    """Where the values of two tensors are not both finite and not the same: the PCC of all others, and how many places
    have a NaN on one side only, and how many an infinity besides; `packed` of the NaN are the second tensor's, beside
    an infinity of the first."""

    pcc: float
    nans: int
    infinities: int
    packed: int

    def __bool__(self) -> bool:
        return bool(self.nans or self.infinities)

    def __str__(self) -> str:
        kinds = [f"{count} {kind}" for count, kind in ((self.nans, "NaN"), (self.infinities, "infinite")) if count]
        return " and ".join(kinds)


def one_sided(a: torch.Tensor, b: torch.Tensor) -> OneSided:
    """What only one of two tensors of one shape has that is not finite."""
    x, y = _in_double(a), _in_double(b)
    apart = _where_both_count(x, y, torch.zeros_like(x)) > 0
    nan = apart & (x.isnan() | y.isnan())
    packed = nan & x.isinf()
    correlation = pcc(a.detach().flatten()[~apart], b.detach().flatten()[~apart])
    return OneSided(correlation, int(nan.sum()), int((apart & ~nan).sum()), int(packed.sum()))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the values agree within the dtype's tolerance; integers and bools have to be equal."""
    if a.dtype not in TOLERANCES:
        return torch.equal(a, b)
    rtol, atol = TOLERANCES[a.dtype]
    return torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def differences(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Absolute differences in float64: 0 where both are NaN or the same infinity, infinite where only one is."""
    x, y = _in_double(a), _in_double(b)
    return _where_both_count(x, y, (x - y).abs()).view(a.shape)


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference; 0.0 for empty tensors."""
    return float(differences(a, b).max()) if a.numel() else 0.0


def largest_ulps(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference in units in the last place: how many values of their dtype (of at most 32 bits, if it is
    of floating point) lie between the two, and one; 0.0 for empty tensors."""
    if not a.dtype.is_floating_point:
        return largest_difference(a, b)
    apart = (_rank(a) - _rank(b)).abs().double()
    return float(_where_both_count(_in_double(a), _in_double(b), apart).max()) if a.numel() else 0.0


@dataclass
class Statistics:
    """What a tensor holds: least, largest, mean and standard deviation of its finite values, and counts of the rest."""

    least: float
    largest: float
    mean: float
    std: float
    nans: int
    infinities: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Statistics:
        """The statistics of a tensor; NaN where no value is finite."""
        values = _in_double(tensor)
        finite = values[values.isfinite()]
        least = largest = mean = std = float("nan")
        if finite.numel():
            least, largest, mean = float(finite.min()), float(finite.max()), float(finite.mean())
            std = float(finite.std(correction=0))
        return cls(least, largest, mean, std, int(values.isnan().sum()), int(values.isinf().sum()))


def _in_double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().double().flatten()


def _where_both_count(x: torch.Tensor, y: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    same = (x == y) | (x.isnan() & y.isnan())
    return torch.where(same, 0.0, torch.where(x.isfinite() & y.isfinite(), apart, float("inf")))


def _rank(tensor: torch.Tensor) -> torch.Tensor:
    """Integers in the order of the floating-point values, neighbours one apart."""
    integer = {2: torch.int16, 4: torch.int32}[tensor.itemsize]
    bits = tensor.detach().contiguous().flatten().view(integer).long()
    return torch.where(bits < 0, torch.iinfo(integer).min - bits, bits)
