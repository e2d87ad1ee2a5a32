"""Random programs observe on the device what they observe on CPU: values, strides, aliasing, errors."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from . import others, views, writes  # noqa: F401  they register their steps
from .programs import SEED, SETTINGS, steps
from .run import STEPS, Run, Step

IN_EACH = 500
RUNS = 40  # of 500 programs: 20,000 in `make aliasing`
SAMPLE = 800  # in `make test`

OFTEN = (
    "arithmetic_",
    "unary_",
    "copy_",
    "view",
    "take_slice",
    "new",
    "to_device",
    "compute",
    "enter_device",
    "convolve",
)
NAMES = [*STEPS, *OFTEN]
STEP = steps(NAMES)
INSIDE = Step("enter_device", 0, 0, 1, 0)
PROGRAMS = st.one_of(st.lists(STEP, max_size=8), st.lists(STEP, min_size=10, max_size=24)).map(lambda p: [INSIDE, *p])


def check(program: list[Step]) -> None:
    """The program's outcome on the device has to be that on CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Run(program, on_device=False).run()
        given = Run(program, on_device=True).run()
    assert given == expected


@settings(SETTINGS, max_examples=SAMPLE, derandomize=True)
@given(PROGRAMS)
def test_a_random_program_ends_as_on_cpu(program):
    check(program)


def test_a_difference_would_be_found():
    """One wrong element, stride or alias, or another error, is a difference."""
    program = [INSIDE, Step("view", 0, 0, 1, 0), Step("unary_", 0, 0, 0, 3), Step("narrow", 0, 0, 4, 1)]
    outcomes = [Run(changed, on_device=True).run() for changed in (program, program[:3], program[:2], program[:1])]
    assert len({tuple(outcome) for outcome in outcomes}) == 4
    assert outcomes[0] == Run(program, on_device=False).run()


@pytest.mark.long
@pytest.mark.parametrize("number", range(RUNS))
def test_many_random_programs_end_as_on_cpu(number, record_property):
    count = 0

    @seed(1000 * SEED + number)
    @settings(SETTINGS, max_examples=IN_EACH)
    @given(PROGRAMS)
    def run(program):
        nonlocal count
        count += 1
        check(program)

    try:
        run()
    finally:
        record_property("programs", count)
    assert count >= IN_EACH
