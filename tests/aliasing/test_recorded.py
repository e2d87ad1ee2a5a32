"""Random programs, made into functions that are called again and again: replays do what the calls do on CPU."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

import ttreg

from . import others, views, writes  # noqa: F401  they register their steps
from .others import values
from .programs import SEED, SETTINGS, steps
from .run import STEPS, Run, Step

IN_EACH, RUNS, SAMPLE = 100, 20, 60  # 2,000 programs in `make recordings`, the sample in `make test`
CALLS = 5

OFTEN = (
    "arithmetic_",
    "unary_",
    "copy_",
    "view",
    "take_slice",
    "select",
    "permute",
    "compute",
    "convolve",
    "move_or_sum",
)
BLOCKS = ("enter_device", "enter_thread", "enter_grad_mode", "leave")

# Some steps, such as sharing memory with NumPy, keep a function from being recorded: half of the functions have none.
STEPS_OF = (steps(OFTEN), steps(name for name in STEPS if name not in BLOCKS))
BODY = st.one_of(*(st.lists(step, min_size=1, max_size=10) for step in STEPS_OF))
BETWEEN = (
    "nothing",
    "other values",
    "the same tensor, written to",
    "a tensor that an earlier call returned",
    "another shape",
    "a write to a tensor that the function holds",
    "another tensor for the function to hold",
    "a write through NumPy to a tensor that the function holds",
    "forget what was returned",
)
TIMES = st.lists(
    st.tuples(st.sampled_from((*BETWEEN, *BETWEEN[:3] * 4)), st.integers(0, 7)), min_size=CALLS, max_size=CALLS
)


class Body(Run):
    """The steps inside of a function; its tensors are those that it was given and those that it holds."""

    def __init__(self, program: list[Step], session: ttreg.Session | None, tensors: list[torch.Tensor]):
        super().__init__(program, session is not None)
        self.session, self.tensors = session, tensors

    @property
    def inside(self) -> bool:
        """As in a block, which the function is called in."""
        return True

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A clone: how a tensor comes to the device is the caller's affair."""
        return tensor.clone()


class Program:
    """Calls a function five times, with something happening before each call, and tells what can be observed."""

    def __init__(self, body: list[Step], times: list[tuple[str, int]], session: ttreg.Session | None):
        self.times, self.session = times, session
        self.resizes = Body(body, session, []).resizes
        self.x = self.on_device(values(torch.float32, 24).view(4, 6))
        self.state = [self.on_device(values(torch.float32, 24).view(4, 6) + 1), values(torch.float32, 24).view(4, 6)]
        self.held: list[torch.Tensor] = []
        self.noted: list[str] = []
        state = self.state

        def function(x: torch.Tensor) -> tuple[list[torch.Tensor], list[str]]:
            run = Body(body, session, [x, *state])
            for each in body:
                run.take(each)
            return run.tensors, run.trace

        self.step: Any = function if session is None else session.record(function)

    def on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor, on the device where there is one; neither is a view."""
        return tensor.clone() if self.session is None else self.session.to_device(tensor)

    def run(self) -> list[str]:
        """All calls; what was noted, and what all tensors are in the end."""
        for what, number in self.times:
            try:
                self.before(what, number)
            except (RuntimeError, ValueError, TypeError) as error:
                self.noted.append(type(error).__name__)
            tensors, trace = self.step(self.x)
            self.noted += trace
            self.held += tensors
            end = Run([], on_device=False)
            end.tensors = [self.x, *self.state, *self.held[-12:]]
            self.noted += end.described()
        return self.noted

    def before(self, what: str, number: int) -> None:
        """What happens before a call."""
        held = self.state[number % 2]
        if what == "other values":
            self.x = self.on_device(values(torch.float32, 24).roll(number).view(4, 6))
        elif what == "the same tensor, written to":
            self.x.add_(1)
        elif what == "a tensor that an earlier call returned" and self.held:
            self.x = self.held[-1 - number % len(self.held)]
        elif what == "another shape":
            self.x = self.on_device(values(torch.float32, 24).view(*((6, 4), (2, 12), (24,))[number % 3]))
        elif what == "a write to a tensor that the function holds":
            held.mul_(-1)
        elif what == "another tensor for the function to hold":
            self.state[number % 2] = (held.detach() + 1).clamp(-8, 8)
        elif what == "a write through NumPy to a tensor that the function holds" and not self.resizes:
            held.detach().numpy()[...] = number
        elif what == "forget what was returned":
            self.held.clear()


def outcome(body: list[Step], times: list[tuple[str, int]], mode: ttreg.device_mode | None) -> tuple[list[str], int]:
    """What a program lets one observe, and how many of its calls were replays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if mode is None:
            return Program(body, times, None).run(), 0
        with mode as session:
            program = Program(body, times, session)
            return program.run(), program.step.counts.replays


def check(body: list[Step], times: list[tuple[str, int]]) -> int:
    """The program's outcome with a recorded function has to be that on CPU; how many calls were replays."""
    expected, _ = outcome(body, times, None)
    given, replays = outcome(body, times, ttreg.device_mode(device="emulated", min_upload_numel=0))
    assert given == expected
    return replays


def test_random_functions_are_replayed_as_they_run_on_cpu():
    replays = 0

    @settings(SETTINGS, max_examples=SAMPLE, derandomize=True)
    @given(BODY, TIMES)
    def run(body, times):
        nonlocal replays
        replays += check(body, times)

    run()
    assert replays > SAMPLE / 4  # else the programs test something else


@pytest.mark.long
@pytest.mark.parametrize("number", range(RUNS))
def test_many_random_functions_are_replayed_as_they_run_on_cpu(number, record_property):
    count = replays = 0

    @seed(1000 * SEED + number)
    @settings(SETTINGS, max_examples=IN_EACH)
    @given(BODY, TIMES)
    def run(body, times):
        nonlocal count, replays
        count += 1
        replays += check(body, times)

    try:
        run()
    finally:
        record_property("programs", count)
    assert count >= IN_EACH
    assert replays > IN_EACH / 4
