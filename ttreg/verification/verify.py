"""Proves entries against real ttnn on mocked chips: every accepted sample, validated call by call."""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

from pydantic import BaseModel

from ..blocks.mode import device_mode
from ..errors import TtregError
from ..registry import Entry, registry
from .trial import trial
from .values import Values
from .workers import interrupts_held

_LOOK_AFTER = 1.0  # seconds without a verdict, after which the worker may be dead


class Verdict(BaseModel):
    """The outcome of a sample on a chip. `error` is empty if ttnn took the calls and the result is the CPU's.

    `sample` is its number, or None for the sweep of special values. A mocked chip gives no `values`.
    """

    op: str
    family: str
    arch: str
    sample: int | None
    accepted: bool
    error: str = ""
    values: Values | None = None


def verify(
    arch: str,
    patterns: Sequence[str] = (),
    module: Path | None = None,
    precision: str | None = None,
    float32: str | None = None,
) -> Iterator[Verdict]:
    """Verify in a process of its own the entries with a lowering that `patterns` name, or all of them.

    `module` is a Python file with more entries; `precision` and `float32` are the keywords of device_mode. A process
    has one mocked chip, so each arch is verified in another. Raises TtregError if that process ends before it has tried
    every sample.
    """
    asked = {"precision": precision, "float32": float32}
    given = {name: value for name, value in asked.items() if value is not None}
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue = context.Queue()
    worker = context.Process(target=_work, args=(arch, tuple(patterns), module, given, queue), daemon=True)
    with interrupts_held():  # the worker ignores it for good: Ctrl-C goes to this process, which ends the worker
        worker.start()
    try:
        while (verdict := _next(queue, worker)) is not None:
            yield verdict
        worker.join()
        if worker.exitcode:
            raise TtregError(f"{_ENDED} on {arch} (exit code {worker.exitcode}); its messages stand above")
    finally:
        worker.terminate()
        worker.join()


_ENDED = "the process that verifies the samples ended before it had tried them all"


def _next(queue: multiprocessing.Queue, worker: Any) -> Verdict | None:
    """The next verdict; None after the last, and also if the worker died."""
    while True:
        alive = worker.is_alive()  # asked first: what it has said before its end is in the queue
        try:
            return queue.get(timeout=_LOOK_AFTER)
        except Empty:
            if not alive:
                return None


def _work(
    arch: str, patterns: tuple[str, ...], module: Path | None, given: dict[str, str], queue: multiprocessing.Queue
) -> None:
    try:
        if module is not None:
            spec = importlib.util.spec_from_file_location(module.stem, module)
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        for entry in registry.matching(patterns, "device"):
            for verdict in _verify_entry(arch, entry, given):
                queue.put(verdict)
    finally:
        queue.put(None)


def _verify_entry(arch: str, entry: Entry, given: dict[str, str]) -> Iterator[Verdict]:
    for number, sample in enumerate(entry.samples()):
        error, accepted = "", False
        try:
            with device_mode(device="emulated", validate=True, arch=arch, min_upload_numel=0, **given) as session:
                result = trial(session, entry, sample)
                accepted, error = result.refusal is None, result.wrong()
        except TtregError as refused:
            error, accepted = f"{type(refused).__name__}: {refused}", True
        yield Verdict(op=str(entry.op), family=entry.family, arch=arch, sample=number, accepted=accepted, error=error)
