"""Samples that many entries share: of one tensor, of two, of a tensor and a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ...samples import Sample, ints, rand

BF16 = torch.bfloat16


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
