"""Finds the weights that a block float can carry while the error of a model's output stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel

from ..devices import open_device
from ..memory.padding import tiled
from ..runtime.block_floats import block_float_of, carry_in
from ..runtime.session import Session
from ..settings import Settings
from .calls import unseen
from .errors import Errors
from .outcomes import Runs, Start, block, returned_tensors, worst_of

# Bytes of a tile of 32 × 32 elements.
_TILE = {"float32": 4096, "bfloat16": 2048, "bfloat8_b": 1088, "bfloat4_b": 576}


class WeightRow(BaseModel):
    """A weight of a matrix product, and whether a block float may carry it."""

    name: str
    shape: list[int]
    saved_bytes: int  # of the device's memory
    carried: bool = False
    error: float | None = None  # of the model's output, with this weight and all that were accepted before it


class Carried(BaseModel):
    """The weights that a block float can carry while the error of the model's output stays within the budget.

    `call` is the line of Python that applies this to `model`.
    """

    dtype: str
    error: float | None = None  # of the model's output, with all of them
    saved_bytes: int = 0
    weights: list[str] = []  # most bytes saved first
    rows: list[WeightRow] = []  # of all that were tried, most bytes first
    call: str = ""


@dataclass
class _Search:
    """Tries the weights in halves, and accepts as many at once as the budget allows."""

    budget: float
    tries: Callable[[Sequence[int]], Errors | None]  # of the model's output, with these weights in block floats
    taken: list[int] = field(default_factory=list)
    errors: dict[int, Errors | None] = field(default_factory=dict)

    def take(self, numbers: Sequence[int], known: bool = False) -> None:
        """Accept as many of these as the budget allows. `known` says that all together are too many."""
        if not numbers:
            return
        if not known:
            found = self.tries([*self.taken, *numbers])
            fits = found is not None and found.error <= self.budget and not found.non_finite
            if fits or len(numbers) == 1:
                self.errors |= dict.fromkeys(numbers, found)
            if fits:
                self.taken += numbers
            if fits or len(numbers) == 1:
                return
        half = (len(numbers) + 1) // 2
        before = len(self.taken)
        self.take(numbers[:half])
        # If all of the first half is accepted, the second half as a whole must be too much.
        self.take(numbers[half:], known=len(self.taken) - before == half and len(numbers) - half > 1)


def try_block_float(
    dtype: str,
    runs: Runs,
    settings: Settings,
    model: torch.nn.Module,
    weights: Mapping[int, tuple[torch.nn.Parameter, str]],
    wanted: list[torch.Tensor],
    budget: float,
    start: Start,
) -> Carried:
    """Find which of the `weights` (by `id`, with the ttnn dtype of each) `dtype` can carry; `wanted` is the reference.

    Weights that save most are tried first. The model runs many times, always from the same `start`. At the end its
    weights are carried as before.
    """
    found = [(name, *weights[id(p)]) for name, p in model.named_parameters() if id(p) in weights]
    found = [each for each in found if block_float_of(each[1]) is None]
    found.sort(key=lambda each: -_saved(each[1], each[2], dtype))

    def errors_with(numbers: Sequence[int]) -> Errors | None:
        for number in numbers:
            carry_in(found[number][1], dtype)
        try:
            start.again()
            returned, failed = runs(block(Session(settings, open_device(settings))))
            with unseen():
                return None if failed else worst_of(returned_tensors(returned), wanted)
        finally:
            for number in numbers:
                carry_in(found[number][1], None)

    search = _Search(budget, errors_with)
    search.take(range(len(found)))
    rows = [
        WeightRow(
            name=name,
            shape=list(weight.shape),
            saved_bytes=_saved(weight, carrier, dtype),
            carried=number in search.taken,
            error=None if (errors := search.errors[number]) is None else errors.error,
        )
        for number, (name, weight, carrier) in enumerate(found)
    ]
    names = [row.name for row in rows if row.carried]
    last = search.errors[search.taken[-1]] if search.taken else None
    return Carried(
        dtype=dtype,
        error=None if last is None else last.error,
        saved_bytes=sum(row.saved_bytes for row in rows if row.carried),
        weights=names,
        rows=rows,
        call=f"ttreg.carry_in([model.get_parameter(name) for name in {names}], {dtype!r})" if names else "",
    )


def _saved(weight: torch.Tensor, carrier: str, dtype: str) -> int:
    tiles = tiled(weight.shape, weight.dtype) // (1024 * weight.itemsize)
    return tiles * (_TILE[carrier] - _TILE[dtype])
