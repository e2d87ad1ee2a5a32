"""Interrupts at random points of a program in a block, and what is left of the block and of its tensors then."""

from __future__ import annotations

import ctypes
import gc
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F

import ttreg
from ttreg.blocks.dispatching import dispatching
from ttreg.hooks import replaced
from ttreg.pytorch_private import dispatch_modes, eager_depth, mode_flags

from .programs import OPTIONS

STEPS = 4
WAYS = ("a signal", "another thread", "a call")

# Where an interrupt keeps `with` from ending anything, as for every context manager that is written in Python.
_OF_WITH = ("__exit__",)


class Program:
    """A state that every step writes to, in whole and by parts; it is whole only if all of it is of one step."""

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []
        self.steps = 0

    def run(self) -> torch.Tensor:
        """All steps in a block of its own."""
        with ttreg.device_mode(**OPTIONS) as session, torch.no_grad():
            on_device, on_host = session.to_device(torch.zeros(6, 8)), session.to_device(torch.zeros(6, 8))
            image, cache = session.to_device(torch.ones(1, 2, 6, 6)), session.to_device(torch.zeros(8, 6))
            self.states = [on_device, on_host, cache.t()]
            for _ in range(STEPS):
                on_device.add_(1)
                on_host.copy_((on_host.double() + 1).float())
                cache.t().add_(1)
                image = F.conv2d(image, torch.full((2, 2, 1, 1), 0.5)).relu()
                rows = F.pad(on_device, (0, 1))[:, :-1].sort(1).values.softmax(-1)
                self.steps += 1
            return rows.sum() + image.sum() + on_device.mean()

    def halves(self) -> list[str]:
        """What of the states is not of one step, or cannot be: an error that says why is no such thing."""
        found = []
        for number, state in enumerate(self.states):
            with suppress(ttreg.DeviceError):
                plain, again = torch.tensor(state.tolist()), torch.tensor((state + 0).tolist())
                steps = plain.unique().tolist()
                if len(steps) != 1 or steps[0] not in (self.steps, self.steps + 1) or not plain.equal(again):
                    found.append(f"state {number} is of the steps {steps} and {again.unique().tolist()}")
        return found


WANTED = torch.tensor(6.0 + 72.0 + STEPS)


def left() -> list[str]:
    """What an interrupted block has left behind."""
    gc.collect()
    values = [o for o in gc.get_objects() if type(o).__name__ == "EmulatedTensor"]
    states = {
        "a mode on the thread's stack": bool(dispatch_modes()),
        "the note that a mode is active": any(mode_flags()),
        "compiled functions switched off": eager_depth() != 0,
        "the note that a call is being dispatched": dispatching(),
        "functions replaced": bool(replaced._open),
        "values on the device": bool(values),
    }
    return [what for what, whether in states.items() if whether]


def tries(count: int, seed: int, ways: tuple[str, ...] = WAYS) -> dict[str, Any]:
    """So many programs, each interrupted at a random point; what was found in them, and how many the interrupt met."""
    chosen, met, wrong = random.Random(seed), Counter[str](), Counter[str]()
    for _ in range(2):  # decisions, and what is imported late
        Program().run()
    start = time.perf_counter()
    Program().run()
    seconds = time.perf_counter() - start
    calls = _calls_of_a_run()
    gc.collect()
    gc.freeze()  # what is there before is looked through no more
    for number in range(count):
        way, program = ways[number % len(ways)], Program()
        interrupts = {
            "a signal": lambda: _by_signal(chosen.uniform(0.02, 1.1) * seconds),
            "another thread": lambda: _by_thread(chosen.uniform(0.02, 1.1) * seconds),
            "a call": lambda: _at_call(chosen.randrange(calls)),
        }
        try:
            with interrupts[way]():
                program.run()
        except KeyboardInterrupt:
            met[way] += 1
        for what in (*left(), *program.halves()):
            wrong[f"{way}: {what}"] += 1
        result = Program().run()
        if not torch.allclose(torch.tensor(result.item()), WANTED, rtol=1e-3) or left():
            wrong[f"{way}: the next session"] += 1
    gc.unfreeze()
    return {"tries": count, "met": dict(met), "wrong": dict(wrong)}


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    """By what debuggers and notebooks use to stop a thread."""
    target, over, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def wait() -> None:
        over.wait(seconds)
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(target), ctypes.py_object(KeyboardInterrupt))

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
        with lock:
            over.set()
    finally:
        over.set()
        thread.join()


@contextmanager
def _at_call(number: int) -> Iterator[None]:
    """At the beginning of the n-th of ttreg's functions that are called, which is where Python looks for interrupts."""
    seen = 0

    def trace(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        if _counts(frame):
            seen += 1
            if seen == number + 1:
                sys.settrace(None)
                raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def _calls_of_a_run() -> int:
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += _counts(frame)

    sys.settrace(trace)
    try:
        Program().run()
    finally:
        sys.settrace(None)
    return count


def _counts(frame: Any) -> bool:
    code = frame.f_code
    return "ttreg" in frame.f_globals.get("__name__", "") and code.co_name not in _OF_WITH
