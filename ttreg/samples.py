"""Sample calls of an op. Tests, benchmarks and the docs use them to try an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .meta import CPU

_generator = torch.Generator()


class Sample:
    """The arguments of one call, as a caller passes them to the op."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args, self.kwargs = args, kwargs


Samples = Callable[[], Iterable[Sample]]


def seeded(samples: Samples) -> Iterator[Sample]:
    """The samples, with the same values at each call."""
    _generator.manual_seed(20)
    yield from samples()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch compute in this thread alone: waking other threads takes longer than most samples."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rand(*shape: int, dtype: torch.dtype = torch.float32, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    """Uniform values between `low` and `high`, exact in bfloat16 so that no dtype changes them."""
    values = torch.empty(shape, dtype=torch.float32, device=CPU).uniform_(low, high, generator=_generator)
    return values.to(torch.bfloat16).to(dtype)


def ints(*shape: int, low: int = 0, high: int = 10, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Uniform integers from `low` to `high - 1`."""
    return torch.randint(low, high, shape, generator=_generator, device=CPU).to(dtype)


def bools(*shape: int) -> torch.Tensor:
    """Random bools, True and False equally likely."""
    return torch.rand(shape, generator=_generator, dtype=torch.float32, device=CPU) < 0.5


def over(dtypes: Sequence[torch.dtype], *shapes: Sequence[int]) -> Samples:
    """Samples of a unary op: one random tensor for each dtype and shape."""

    def samples() -> Iterator[Sample]:
        for dtype in dtypes:
            for shape in shapes:
                yield Sample(rand(*shape).to(dtype))

    return samples
