"""Worker processes that run tasks one by one, each with a time limit. A worker that hangs or dies is replaced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

START = 600.0  # seconds that a process may take to import what it needs
_END = 30.0  # seconds in which it closes its device

# The work of a process. It is given the connection for tasks and answers, and arguments from the start.
Work = Callable[..., None]


@dataclass
class Lost:
    """A task without an answer, and why."""

    task: Any
    hung: bool  # else the process ended
    ready: bool  # whether the process had begun with its tasks
    why: str


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: Any = None
    ready: bool = False
    deadline: float = field(default=float("inf"))


def done(
    work: Work, told: tuple, tasks: Iterable[Any], limit: float, workers: int = 1
) -> Iterator[tuple[Any, Any] | Lost]:
    """Yield each task with its answer as it is done.

    `work(connection, *told)` runs in the process: it sends one object when it is ready, and an answer for each task.
    """
    left = iter(tasks)
    running: list[_Worker | None] = [None] * workers
    try:
        more = True
        while more or any(w is not None and w.task is not None for w in running):
            for number, worker in enumerate(running):
                if more and (worker is None or worker.task is None):
                    task = next(left, None)
                    more = task is not None
                    if more:
                        running[number] = _given(worker or _started(work, told), task, limit)
            busy = [w for w in running if w is not None and w.task is not None]
            yield from _answers(busy, limit)
            running = [w if w is not None and not w.connection.closed else None for w in running]
    finally:
        for worker in running:
            if worker is not None:
                _end(worker)


def _answers(busy: list[_Worker], limit: float) -> Iterator[tuple[Any, Any] | Lost]:
    """Wait for the first process that is ready, and return all answers that have come."""
    if not busy:
        return
    soonest = min(worker.deadline for worker in busy)
    heard = wait([worker.connection for worker in busy], max(soonest - time.monotonic(), 0))
    for worker in busy:
        task = worker.task
        if worker.connection in heard:
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join(_END)
                code = worker.process.exitcode
                _kill(worker)
                yield Lost(task, False, worker.ready, f"its process ended ({_how(code)})")
                continue
            if worker.ready:
                worker.task = None
                yield task, answer
            else:
                worker.ready, worker.deadline = True, time.monotonic() + limit
        elif time.monotonic() >= worker.deadline:
            _kill(worker)
            seconds = limit if worker.ready else START
            yield Lost(task, True, worker.ready, f"no answer within {seconds:g} s, and its process was ended")


def _started(work: Work, told: tuple) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(work, theirs, told), daemon=True)
    with interrupts_held():  # the worker ignores it for good: Ctrl-C goes to this process, which ends the worker
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _given(worker: _Worker, task: Any, limit: float) -> _Worker:
    worker.task, worker.deadline = task, time.monotonic() + (limit if worker.ready else START)
    with suppress(OSError):  # if the process has ended, waiting for its answer shows it
        worker.connection.send(task)
    return worker


def _run(work: Work, connection: Connection, told: tuple) -> None:
    os.setpgrp()  # so that what it starts can be ended with it
    os.dup2(2, 1)  # the command alone writes to stdout
    with suppress(EOFError, BrokenPipeError):
        work(connection, *told)


def _end(worker: _Worker) -> None:
    """Let an idle process close its device. Kill a process that is busy, or does not stop."""
    if worker.task is None and not worker.connection.closed:
        worker.connection.close()
        worker.process.join(_END)
    _kill(worker)


def _kill(worker: _Worker) -> None:
    worker.connection.close()
    pid = worker.process.pid
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    worker.process.kill()
    worker.process.join()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while the context is open; a process that is started there never gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
