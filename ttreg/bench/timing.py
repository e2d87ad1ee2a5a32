"""Times of several ways to do one thing, taken in turn, so that a busy machine slows all of them."""

from __future__ import annotations

import gc
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from ..blocks.mode import enter_modes
from ..runtime.session import Session


@dataclass(frozen=True)
class Way:
    """One way to do something: the function, its arguments made anew for each call, and what it runs under.

    Only `run` is timed, and what is freed when its result is dropped.
    """

    run: Callable[..., object]
    arguments: Callable[[], tuple[Any, ...]] = tuple
    under: Callable[[], AbstractContextManager[Any]] = nullcontext

    def sample(self, calls: int, clock: Callable[[], float] = perf_counter) -> float:
        """Seconds that a call takes by the clock, the mean of so many."""
        run, prepared = self.run, [self.arguments() for _ in range(calls)]
        with self.under():
            start = clock()
            for arguments in prepared:
                run(*arguments)
            return (clock() - start) / calls


def interleaved(
    ways: Mapping[str, Way], rounds: int, calls: int = 1, clock: Callable[[], float] = perf_counter
) -> dict[str, list[float]]:
    """Seconds that a call takes each way by the clock, a sample in each round, after one that is not counted.

    Each round has an order of its own: what one way leaves in the caches decides how fast the next one begins.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order, shuffle = list(ways), Random(0).shuffle
    with _no_garbage_collection():
        for round_ in range(rounds + 1):
            shuffle(order)
            for name in order:
                taken = ways[name].sample(calls, clock)
                if round_:
                    seconds[name].append(taken)
    return seconds


def median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median of the ratios of samples that were taken in the same round."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def spread(seconds: Sequence[float]) -> float:
    """The distance between the quartiles, as a share of the median; 0 of a single sample."""
    if len(seconds) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / middle


def under(session: Session) -> Callable[[], AbstractContextManager[None]]:
    """The mode that passes the calls of a block to the session. The session stays open after the block."""

    @contextmanager
    def block() -> Iterator[None]:
        with ExitStack() as stack:
            enter_modes(stack, session)
            yield

    return block


@contextmanager
def pinned() -> Iterator[int | None]:
    """Keep this thread on one core, so that it is not moved while it is timed; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def machine() -> dict[str, str]:
    """The machine and the versions that the times belong to."""
    known = {name: metadata.version(name) for name in ("ttreg", "torch", "ttnn")}
    described = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    models = [line.partition(":")[2].strip() for line in described.splitlines() if line.startswith("model name")]
    return {**known, "python": platform.python_version(), "cpu": models[0] if models else platform.machine()}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """As `timeit` does, because the garbage of one way could be collected during the time of another."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
