"""Programs that go on: once they have come round, they hold no more bytes, on the device and on the host, and no more
objects than before; and the process takes no more memory."""

from __future__ import annotations

import gc
import os

import pytest
import torch
from ttreg.ops.vocabulary import kept as kept_values

from ttreg import meta

from .programs import BOUNDS, PROGRAMS, SETTINGS
from .rounds import held, resident, steps

ROUND, ROUNDS = 30, 3  # a program's sizes come back after so many steps; the first two rounds are to warm up
FLAT = 1.01
FEW = ROUND - 1  # objects more after a round: fewer than one for each step, as programs do not stand where they stood

# Metadata that nothing holds is forgotten when there is a great deal of it: a short run sees it grow.
IN_SHORT = [name for name in PROGRAMS if not SETTINGS[name].get("only_long")]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for owner, bound, most in BOUNDS:
        monkeypatch.setattr(owner, bound, most)
    monkeypatch.setattr(kept_values, "_kept", type(kept_values._kept)())
    monkeypatch.setattr(kept_values, "_bytes", 0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", IN_SHORT)
def test_a_program_that_goes_on_holds_no_more(name, request):
    gc.collect()
    gc.freeze()  # what was there before is looked through no more
    request.addfinalizer(gc.unfreeze)
    most, seen = [], []
    for number, state in enumerate(steps(name, ROUND * ROUNDS), 1):
        if number % 10 == 0:
            seen.append(held(state.session))
        if number % ROUND == 0:
            most.append([max(column) for column in zip(*seen, strict=True)])
            seen.clear()
    _, warm, *later = most
    for of_round in later:
        for what, before, after in zip(("known", "device", "host", "objects"), warm, of_round, strict=True):
            allowed = max(FLAT * before, before + FEW) if what == "objects" else FLAT * before
            assert after <= allowed, (what, most)


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_memory_of_a_process_is_flat(name, monkeypatch):
    """Of six parts, after each of which it is looked at, the first three are to warm up."""
    monkeypatch.setattr(meta._Interned, "limit", 1 << 11)
    count = int(os.environ.get("SOAK_STEPS", "1500")) // 6
    parts = [resident() for number, _ in enumerate(steps(name, 6 * count), 1) if number % count == 0]
    assert max(parts[4:]) <= FLAT * parts[2], parts


@pytest.mark.long
@pytest.mark.parametrize("name", ["recorded_calls", "recorded_calls_of_many_sizes"])
def test_ten_thousand_replays_hold_no_more(name, monkeypatch):
    """Bytes of the device, and of the process in memory, after a tenth of the calls and at the end."""
    monkeypatch.setattr(meta._Interned, "limit", 1 << 11)
    seen = [
        (held(state.session).device, resident())
        for number, state in enumerate(steps(name, 10_000), 1)
        if number % 1_000 == 0
    ]
    (device, taken), later = seen[2], seen[3:]
    assert max(found for found, _ in later) <= FLAT * device, seen
    assert max(found for _, found in later) <= FLAT * taken, seen
