"""Ctrl-C in the middle of what has to be done whole: the end of a block, a write, the notes of what memory holds."""

from __future__ import annotations

import contextlib

import pytest
import torch
from ttreg.fallback import host

import ttreg
from ttreg.memory import watch
from ttreg.memory.cell import Cell
from ttreg.pytorch_private import dispatch_modes

X = torch.arange(12.0).reshape(3, 4)


def interrupt_once(monkeypatch, owner, name, nth=0):
    """Have the n-th call of this function interrupted as it begins."""
    function, seen = getattr(owner, name), []

    def call(*args, **kwargs):
        seen.append(name)
        if len(seen) == nth + 1:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return seen


@pytest.mark.parametrize("nth", [0, 1, 3])
@pytest.mark.parametrize("name", ["settle", "pin", "_replace_values", "host_view", "_memory"])
def test_a_block_whose_end_is_interrupted_ends_all_the_same(name, nth, device, monkeypatch):
    session = device.__enter__()
    kept = [session.to_device(X) + n for n in range(4)]
    interrupt_once(monkeypatch, Cell, name, nth)
    with pytest.raises(KeyboardInterrupt):
        device.__exit__(None, None, None)
    assert session.closed
    assert (session.held(), dispatch_modes()) == (0, [])
    assert [tensor.tolist() for tensor in kept] == [(X + n).tolist() for n in range(4)]


def test_the_exception_that_ends_a_block_gives_way_to_an_interrupt(device, monkeypatch):
    session = device.__enter__()
    kept = session.to_device(X)
    interrupt_once(monkeypatch, Cell, "settle")
    with pytest.raises(KeyboardInterrupt):
        device.__exit__(ValueError, ValueError(), None)
    assert (session.held(), kept.tolist()) == (0, X.tolist())


WRITES = {
    "the whole": lambda a: a.mul_(2),
    "a part": lambda a: a[1:].mul_(2),
    "a view": lambda a: a.t().mul_(2),
    "on the host": lambda a: a.copy_(X.double() * 2),
    "a part on the host": lambda a: a[1:].copy_(X[1:].double() * 2),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Cell, "_replace_values"), (Cell, "host_written"), (Cell, "hold_image"), (host._StandIns, "written")],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("nth", [0, 1])
def test_a_write_that_is_interrupted_is_made_or_not_for_all_who_read(write, owner, name, nth, device, monkeypatch):
    made = X.clone()
    WRITES[write](made)
    with device as session:
        a = session.to_device(X)
        view = a.view(4, 3)
        a.tolist()  # the host and the device have it
        with monkeypatch.context() as patch:
            interrupt_once(patch, owner, name, nth)
            with contextlib.suppress(KeyboardInterrupt):
                WRITES[write](a)
        on_device, on_host = (a + 0).tolist(), a.tolist()
        assert on_device == on_host
        assert on_host in (X.tolist(), made.tolist())
        assert (view + 0).flatten().tolist() == torch.tensor(on_host).flatten().tolist()
    assert a.tolist() == on_host


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_memory_whose_end_was_not_noted_is_not_taken_for_what_comes_to_its_place(device, monkeypatch):
    with device as session:
        a = session.to_device(torch.ones(64, 64))
        for _ in range(100):  # something else may come to the place
            weight = torch.full((64, 64), 2.0)
            (a * weight).tolist()
            place = weight.untyped_storage()._cdata
            interrupt_once(monkeypatch, watch, "_gone")
            del weight
            others = [torch.full((64, 64), 3.0) for _ in range(100)]
            found = [other for other in others if other.untyped_storage()._cdata == place]
            if found:
                break
        assert torch.equal(torch.tensor((a * found[0]).tolist()), torch.full((64, 64), 3.0))


def test_a_decomposed_call_that_is_interrupted_leaves_the_thread_as_it_was(device, monkeypatch):
    with device as session:
        a = session.to_device(X)
        stack = dispatch_modes()
        with monkeypatch.context() as patch:
            seen = interrupt_once(patch, type(session), "lower")
            with torch.inference_mode(), pytest.raises(KeyboardInterrupt):
                torch.softmax(a, 0)
        assert seen
        assert dispatch_modes() == stack
        assert isinstance(a + 1, ttreg.DeviceTensor)
        assert (a + 1).tolist() == (X + 1).tolist()
