"""Proves entries against real ttnn on mocked chips: every accepted sample, validated call by call."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel

from .errors import TtregError
from .mode import device_mode
from .registry import Entry, registry
from .trial import trial


class Verdict(BaseModel):
    """What became of one sample of one entry on one chip; `error` is empty where ttnn accepted it."""

    op: str
    family: str
    arch: str
    sample: int
    accepted: bool
    error: str = ""


def verify(arch: str, patterns: Sequence[str] = ()) -> Iterator[Verdict]:
    """Verify in a process of its own the entries whose name has one of `patterns` in it or whose family is one of them.

    A process has one mocked chip, so each arch is verified in another.
    """
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue = context.Queue()
    worker = context.Process(target=_work, args=(arch, tuple(patterns), queue), daemon=True)
    with _interrupts_ignored():  # inherited by the worker: Ctrl-C is for this process, which ends it
        worker.start()
    try:
        while (verdict := queue.get()) is not None:
            yield verdict
    finally:
        worker.terminate()
        worker.join()


def matching(patterns: Sequence[str]) -> list[Entry]:
    """The entries with a lowering that one of the patterns names."""
    entries = [entry for entry in registry if entry.kind == "device"]
    return [e for e in entries if not patterns or any(p in str(e.op) or p == e.family for p in patterns)]


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _work(arch: str, patterns: tuple[str, ...], queue: multiprocessing.Queue) -> None:
    try:
        for entry in matching(patterns):
            for verdict in _verify_entry(arch, entry):
                queue.put(verdict)
    finally:
        queue.put(None)


def _verify_entry(arch: str, entry: Entry) -> Iterator[Verdict]:
    for number, sample in enumerate(entry.samples()):
        error, accepted = "", False
        try:
            with device_mode(device="emulated", arch=arch, validate=True, min_upload_numel=0) as session:
                accepted = trial(session, entry, sample).refusal is None
        except TtregError as refused:
            error, accepted = f"{type(refused).__name__}: {refused}", True
        yield Verdict(op=str(entry.op), family=entry.family, arch=arch, sample=number, accepted=accepted, error=error)
