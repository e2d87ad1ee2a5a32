"""Short forms of `make soak`: many calls, threads, processes and sessions, and interrupts at random points."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from . import crowds, interrupts, load

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
ALL_RIGHT = {"right": 16, "wrong": 0, "stuck": 0}


@pytest.fixture
def few_objects():
    gc.collect()
    gc.freeze()  # what was there before is looked through no more
    yield
    gc.unfreeze()


def test_random_calls_give_what_they_give_on_cpu(few_objects):
    found = load.mix_emulated(256)
    assert (found["wrong"], found["compared"], found["bytes left"]) == ([], 8, 0)


def test_random_calls_leave_nothing_on_a_mocked_chip():
    found = load.mix_mocked(40)
    assert (found["calls"], found["bytes left"]) == (40, 0)
    assert found["on the device"] > 40


@pytest.mark.parametrize("shared", [True, False])
def test_sixteen_threads_come_to_their_own_results(shared):
    assert crowds.in_threads(16, 1, shared) == ALL_RIGHT


@pytest.mark.long
def test_eight_processes_come_to_their_own_results():
    assert crowds.in_processes(8, 1, "fork") == {"right": 8, "wrong": 0, "stuck": 0}


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(method, marks=pytest.mark.long) for method in ("spawn", "forkserver"))]
)
def test_a_process_that_is_started_in_a_block(method, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])  # for the child, which imports this package anew
    assert crowds.after_a_session(method) == {
        "method": method,
        "the parent's tensor in the child": "DeviceError" if method == "fork" else "right",
        "the child's own session": "right",
        "the parent goes on": "right",
        "ends": True,
    }


def test_sessions_that_are_opened_and_closed_leave_nothing(few_objects):
    found = load.sessions(30)
    assert (found["wrong"], found["bytes left"], found["threads"], found["files"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("way", interrupts.WAYS)
def test_an_interrupt_leaves_nothing_of_the_block_and_no_tensor_half_written(way):
    found = interrupts.tries(4, 0, (way,))
    assert found["wrong"] == {}
    assert found["met"] or way != "a call"  # the others may come after the program's end
