"""The soaks of `make soak`, each in a process of its own: what it does, and what it found."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch

import ttreg
from ttreg import meta
from ttreg.runtime import ledger

from . import crowds, interrupts
from .mixes import Mix, parts
from .programs import BOUNDS, OPTIONS
from .rounds import held, resident

PARTS, WARM = 10, 4  # resident memory is looked at after each of so many parts, of which the first are to warm up

Found = dict[str, Any]


def mix_emulated(count: int) -> Found:
    """A random mix on the emulated device, compared with CPU now and then."""
    return _mix(count, {"device": "emulated"}, 32, 1000)


def mix_mocked(count: int) -> Found:
    """The same on the mocked chip, which has no values. Programs of ttnn are kept, so that the shapes stay the same."""
    return _mix(count, {"device": "mock"}, 0, None)


def _mix(count: int, device: dict[str, Any], compared: int, new_shapes: int | None) -> Found:
    with pytest.MonkeyPatch.context() as patch:
        for owner, bound, most in BOUNDS:  # so that what is kept comes to its bounds in the warm parts
            patch.setattr(owner, bound, most)
        patch.setattr(ledger, "_KEPT_PLANS", 1 << 10)  # enough for a thousand calls
        patch.setattr(meta._Interned, "limit", 1 << 11)
        with ttreg.device_mode(min_upload_numel=0, **device) as session, torch.no_grad():
            mix = Mix(session, 0, new_shapes, compared)
            sizes, on_device = [], []
            for calls in parts(count, PARTS):
                mix.run(calls)
                sizes.append(resident())
                on_device.append(session.held())
            totals = session.report().totals
            mix.drop()
        chip = session.device.tt.device
    return {
        "calls": mix.calls, "aten calls": totals.calls, "on the device": totals.device,
        "compared": mix.comparisons, "wrong": mix.wrong, "resident": sizes, "growth": growth(sizes),
        "held": on_device, "bytes left": left_on(session, chip),
    }  # fmt: skip


def left_on(session: ttreg.Session, chip: Any) -> int:
    """The bytes of the device that a session has not given back: of all its values, or what ttnn says it has given."""
    if session.device.name == "emulated":
        return held(session).device
    import gc

    import ttnn

    gc.collect()
    chip.clear_program_cache()  # programs keep tables of their own on the device
    kinds = (ttnn.BufferType.DRAM, ttnn.BufferType.L1, ttnn.BufferType.L1_SMALL)
    return sum(ttnn.get_memory_view(chip, kind).total_bytes_allocated_per_bank for kind in kinds)


def sessions(count: int) -> Found:
    """Sessions opened and closed, each with some work."""
    sizes, threads, files, left, wrong = [], [], [], 0, 0
    for part in parts(count, PARTS):
        for number in range(part):
            with torch.no_grad(), ttreg.device_mode(**OPTIONS) as session:
                x = session.to_device(torch.full((5, 7), float(number)))
                result = (x + 1).t() @ x
            wrong += result[0, 0].item() != 5 * number * (number + 1)
            left += session.held()
            del x, result
        sizes.append(resident())
        left += held(session).device
        threads.append(threading.active_count())
        files.append(len(os.listdir("/proc/self/fd")))
    return {
        "sessions": count, "wrong": wrong, "bytes left": left, "resident": sizes, "growth": growth(sizes),
        "threads": threads[-1] - threads[WARM - 1], "files": files[-1] - files[WARM - 1],
    }  # fmt: skip


def growth(sizes: list[int]) -> float:
    """By how many percent the last parts took more memory than the warm ones."""
    return round(100 * (max(sizes[-2:]) / max(sizes[WARM - 1 : WARM + 1]) - 1), 2) + 0.0


def threads(count: int) -> Found:
    """16 threads in one session, then 16 with a session each."""
    return {"one session": crowds.in_threads(16, count, True), "a session each": crowds.in_threads(16, count, False)}


def processes(count: int) -> Found:
    """8 processes with a session each, forked before there is one."""
    return {"processes": crowds.in_processes(8, count, "fork")}


def starts(count: int) -> Found:
    """Child processes started inside a block, in each way that Python has."""
    rows = [crowds.after_a_session(method) for method in ("fork", "spawn", "forkserver") for _ in range(count)]
    return {"rows": rows}


def interrupted(count: int) -> Found:
    """Programs that are interrupted at random points."""
    return interrupts.tries(count, 0)


SOAKS: dict[str, tuple[Callable[[int], Found], int]] = {
    "mix_emulated": (mix_emulated, 27_000),
    "mix_mocked": (mix_mocked, 36_000),
    "interrupted": (interrupted, 300),
    "sessions": (sessions, 1000),
    "threads": (threads, 100),
    "processes": (processes, 100),
    "starts": (starts, 2),
}


def run(name: str, share: float) -> Found:
    """What one of them finds; a share below 1 makes it shorter."""
    torch.set_num_threads(1)
    with suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    soak, count = SOAKS[name]
    return soak(max(1, round(count * share)))
