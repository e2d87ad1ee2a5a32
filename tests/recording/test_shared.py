"""A replay makes what a function computes twice only once, and never in place of something else."""

from __future__ import annotations

import pytest
import torch

import ttreg

X = torch.arange(-8.0, 8, dtype=torch.float32).reshape(4, 4) / 4


def steps_of(step):
    """The steps of the last replay."""
    return step.counts.ttnn_calls // step.counts.replays


def test_what_is_computed_twice_is_made_once(session):
    def gather(x, number):
        rows = torch.arange(4, device="cpu") * number.to(torch.int64) % 4
        again = torch.arange(4, device="cpu") * number.to(torch.int64) % 4
        return x.index_select(0, rows) @ x.index_select(0, again)

    def both(function, twice):
        return lambda x, number: function(x, number) + function(x, number) if twice else function(x, number)

    counted = []
    for twice in (False, True):
        step = session.record(both(gather, twice))
        for number in (1, 3, 1, 3, 5):
            number = torch.tensor(number, device="cpu")
            expected = both(gather, twice)(X, number)
            assert step(X, number).tolist() == expected.tolist()
        assert step.counts.replays
        counted.append(steps_of(step))
    assert counted[1] == counted[0] + 1


def test_what_is_the_same_at_each_call_is_not_made_again(session):
    def picked(x, number):
        return x + (torch.arange(4, device="cpu") * 3 + number)

    step = session.record(picked)
    for number in range(5):
        number = torch.tensor(number, device="cpu")
        assert step(X, number).tolist() == picked(X, number).tolist()
    assert steps_of(step) == 6  # two tensors to read, a sum on the host, two uploads, a sum on the device


def written_between(x):
    first = torch.arange(4, device="cpu")
    second = torch.arange(4, device="cpu")
    second[0] = 3
    third = torch.arange(4, device="cpu")
    third += first
    before = third * 1
    third += 1
    return x[first] + x[second] * 2 + x[third % 4] * 4 + x[before % 4] * 8 + x[(third * 1) % 4] * 16


def returned_twice(x):
    return x + 1, x + 1, torch.zeros(4, device="cpu"), torch.zeros(4, device="cpu")


def drawn_twice(x):
    return x + torch.rand(4, device="cpu") - torch.rand(4, device="cpu") * 2


def held_twice(x):
    a, b = torch.full((4,), 2.0, device="cpu"), torch.full((4,), 2.0, device="cpu")
    a.mul_(float(3))
    return x * a + b, a


def zeros_of_both_signs(x):
    return (x.clamp(1, 2) * 0.0).reciprocal(), (x.clamp(1, 2) * -0.0).reciprocal(), x + True, x + 1.0


@pytest.mark.parametrize(
    "function",
    [written_between, returned_twice, drawn_twice, held_twice, zeros_of_both_signs],
    ids=lambda f: f.__name__,
)
def test_what_only_looks_the_same_is_made_on_its_own(function, called):
    called(lambda: function, lambda number: (X + number,))


def test_results_that_are_equal_are_tensors_of_their_own(session):
    step = session.record(returned_twice)
    for number in range(5):
        results = step(X + number)
        results[0].add_(5)
        results[2].add_(5)
        assert results[1].tolist() == (X + number + 1).tolist()
        assert results[3].tolist() == [0.0] * 4
    assert step.counts.replays


def test_a_constant_is_no_memory_of_the_programs():
    """The function hands out the tensor that the recorded call has made, which the program then writes to."""
    made = []

    def function(x):
        mask = torch.ones(4, device="cpu") * 3
        if not made:
            made.append(mask)
        return x * mask

    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        step = session.record(function)
        for _ in range(6):
            assert step(X.clone()).tolist() == (X * 3).tolist()
            made[0].fill_(7.0)


def test_elementwise_steps_are_made_by_the_calls_that_need_them(session):
    """As they are in a block, where a call waits from its third time on."""

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(x * 0.75))

    step = session.record(gelu)
    for number in range(4):
        assert step(X + number).tolist() == gelu(X + number).tolist()
    assert steps_of(step) == 2  # an upload, and a product of two chains of steps
