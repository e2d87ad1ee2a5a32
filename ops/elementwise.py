"""What the elementwise families share: numbers beside tensors, float32 intermediates, and samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..call import Call
from ..conditions import Check
from ..meta import Meta, intern, meta_of
from ..samples import Sample, ints, rand

BF16 = torch.bfloat16

_RANGES = {torch.int32: (-(2**31), 2**31 - 1), torch.uint8: (0, 255), torch.bool: (0, 1)}


def contiguous(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The outputs in rows, as PyTorch's kernel gives them whatever the strides of its input."""
    return [meta_of(torch.empty(meta.shape, dtype=meta.dtype, device="meta")) for meta in outputs]


def first_strides(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The output of two tensors with the strides that PyTorch's kernel gives it: where the tensors' differ, those of
    the first, which its shape function takes for the second."""
    tensors = [meta.like(torch.float32).on_meta() for _, meta in call.tensors()]
    if len(tensors) != 2:
        return outputs
    result = tensors[0] + tensors[1]
    return [intern(meta.dtype, meta.shape, result.stride()) for meta in outputs]


def is_number(value: Any) -> bool:
    """Whether an argument is a Python number; PyTorch passes them for tensors too (`x + 2` is `add.Tensor(x, 2)`)."""
    return isinstance(value, (bool, int, float))


def number(tt: Any, value: float, beside: Any) -> float:
    """A Python number as ttnn takes it beside a tensor: an int for integers, else a float that its dtype can hold."""
    if beside.dtype not in (tt.bfloat16, tt.float32):
        return int(value)
    # Masks are filled with the smallest float32, which must not become -inf when float32 is carried in bfloat16.
    largest = torch.finfo(BF16 if beside.dtype == tt.bfloat16 else torch.float32).max
    return float(value) if not math.isfinite(value) else max(-largest, min(float(value), largest))


def operand(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as ttnn takes it beside the tensor."""
    return number(tt, value, beside) if is_number(value) else value


def element(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as an element of the tensor's dtype would be.

    PyTorch rounds numbers to bfloat16 beside such tensors in sums, comparisons, remainders, powers and shrinkage, but
    not in other ops.
    """
    if not is_number(value):
        return value
    value = number(tt, value, beside)
    return bfloat16(value) if beside.dtype == tt.bfloat16 else value


def bfloat16(value: float) -> float:
    """A number rounded to bfloat16."""
    return _neighbours(value)[1] if value and math.isfinite(value) else value


def not_above(tt: Any, value: float, beside: Any) -> float:
    """The number, or the largest bfloat16 below it beside a bfloat16 tensor: the same elements are above either."""
    value = number(tt, value, beside)
    exact = not value or not math.isfinite(value) or beside.dtype != tt.bfloat16
    return value if exact else _neighbours(value)[0]


@functools.lru_cache(maxsize=1024)
def _neighbours(value: float) -> tuple[float, float]:
    """The largest bfloat16 that is not above a finite number, and the nearest bfloat16."""
    nearest = torch.tensor(value, dtype=torch.float64).to(torch.float32).to(BF16)
    below = nearest
    if float(nearest) > value:
        below = torch.nextafter(nearest, torch.tensor(-torch.inf, dtype=BF16))
    return float(below), float(nearest)


def filled(tt: Any, value: Any, beside: Any) -> Any:
    """A tensor as it is, and a number as a tensor, for ttnn functions that take no numbers."""
    return tt.full_like(beside, number(tt, value, beside)) if is_number(value) else value


def of_dtype(tt: Any, value: Any, dtype: Any) -> Any:
    """The value in a ttnn dtype."""
    return value if value.dtype == dtype else tt.typecast(value, dtype)


def in_float32(tt: Any, function: Callable[..., Any], *tensors: Any) -> Any:
    """Apply the function, with bfloat16 tensors as float32 and the result rounded to bfloat16 once."""
    if tensors[0].dtype != tt.bfloat16:
        return function(*tensors)
    return tt.typecast(function(*(tt.typecast(t, tt.float32) for t in tensors)), tt.bfloat16)


def by_operand(tt: Any, function: Callable[..., Any], self: Any, other: Any) -> Any:
    """The function of two operands; of a bfloat16 tensor and a float32 one that stands for a number, rounded once."""
    if is_number(self) or is_number(other) or self.dtype == other.dtype:
        return function(self, other)
    return tt.typecast(function(tt.typecast(self, tt.float32), other), tt.bfloat16)


def _unfit_number(call: Call) -> str | None:
    """A number that the integer (or, if there are none, the bool) tensors of the call cannot hold."""
    dtypes = {meta.dtype for _, meta in call.tensors()}
    if any(dtype.is_floating_point for dtype in dtypes):
        return None
    for low, high in (limits for dtype, limits in _RANGES.items() if dtype in dtypes):
        numbers = [v for v in call.arguments.values() if is_number(v)]
        return next((str(v) for v in numbers if not low <= v <= high or v != int(v)), None)
    return None


FITS = Check("numbers beside integer tensors have values of their dtype", _unfit_number)


def one_tensor(low: float = -2.0, high: float = 2.0) -> Callable[[], Iterator[Sample]]:
    """Samples of an op of one tensor with values from `low` to `high`; the last is refused, being float64."""

    def samples() -> Iterator[Sample]:
        for shape, dtype in (((5, 7), torch.float32), ((2, 3, 40), BF16), ((), torch.float32), ((33,), BF16)):
            yield Sample(rand(*shape, dtype=dtype, low=low, high=high))
        yield Sample(rand(2, 1, 2, 1, 3, 5, low=low, high=high))
        yield Sample(rand(5, 7, dtype=torch.float64, low=low, high=high))

    return samples


def two_tensors(
    low: float = -2.0, high: float = 2.0, integers: bool = False, **more: Any
) -> Callable[[], Iterator[Sample]]:
    """Samples of an op of two tensors: broadcasts, promotions, every rank; the last is refused, being float64."""

    def floats(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return rand(*shape, dtype=dtype, low=low, high=high)

    def samples() -> Iterator[Sample]:
        yield Sample(floats(5, 7), floats(5, 7), **more)
        yield Sample(floats(33, 40), floats(40), **more)
        yield Sample(floats(2, 1, 3), floats(4, 1), **more)
        yield Sample(floats(), floats(2, 3), **more)
        yield Sample(floats(), floats(), **more)
        yield Sample(floats(2, 1, 2, 1, 3, 5), floats(2, 4, 1, 5), **more)
        yield Sample(floats(5, 7, dtype=BF16), floats(5, 7, dtype=BF16), **more)
        yield Sample(floats(5, 7, dtype=BF16), floats(7), **more)
        yield Sample(floats(5, 7, dtype=BF16), floats(), **more)
        yield Sample(floats(5, 7, dtype=BF16), floats() / 3, **more)
        if integers:
            yield Sample(ints(5, 7, dtype=torch.int32, low=-9), ints(7, dtype=torch.int32, low=-9), **more)
            yield Sample(ints(5, 7, dtype=torch.int32), floats(7), **more)
        yield Sample(floats(5, 7).double(), floats(5, 7).double(), **more)

    return samples


def int32(*shape: int, low: int = -9) -> torch.Tensor:
    """Integers from `low` to 9."""
    return ints(*shape, low=low, dtype=torch.int32)


def by_number(*numbers: float, integers: bool = True) -> Callable[[], Iterator[Sample]]:
    """Samples of an op of a tensor and a number; refused are float64 and a number too large for int32."""

    def samples() -> Iterator[Sample]:
        for value in numbers:
            yield Sample(rand(5, 7), value)
            yield Sample(rand(2, 3, 40, dtype=BF16), value)
            if integers:
                yield Sample(int32(5, 7), value)
        yield Sample(rand(), numbers[0])
        yield Sample(int32(5, 7), 2**40)
        yield Sample(rand(5, 7).double(), numbers[0])

    return samples
