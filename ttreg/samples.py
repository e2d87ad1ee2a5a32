"""Sample calls of an op: what tests, benchmarks and the docs try an entry with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .meta import CPU

_generator = torch.Generator()


class Sample:
    """Arguments of one call, as they would be passed to the op."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args, self.kwargs = args, kwargs


Samples = Callable[[], Iterable[Sample]]


def seeded(samples: Samples) -> Iterator[Sample]:
    """The samples, with the same values at each call."""
    _generator.manual_seed(20)
    yield from samples()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch compute in this thread alone: to wake others takes longer than most samples do."""
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
    """Fair coins."""
    return torch.rand(shape, generator=_generator, dtype=torch.float32, device=CPU) < 0.5


def over(dtypes: Sequence[torch.dtype], *shapes: Sequence[int]) -> Samples:
    """A unary op's samples: one random tensor for each dtype and shape."""

    def samples() -> Iterator[Sample]:
        for dtype in dtypes:
            for shape in shapes:
                yield Sample(rand(*shape).to(dtype))

    return samples
