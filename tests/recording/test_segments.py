"""Values that the program sees, host ops and random numbers: they happen at each replay, at their place."""

from __future__ import annotations

import pytest
import torch

import ttreg

X = torch.arange(-8.0, 8).reshape(4, 4) / 4


def branches(x):
    if (x.sum() > 0).item():
        return x + 1
    return x - 1


def branches_on_bool(x):
    return x + 1 if x.sum() > 0 else x - 1


def reads_a_list(x):
    first = (x * 2)[0].tolist()
    return x * 2 if first[0] > 0 else x * 3


def loops(x):
    count = 0
    while x.abs().max() < 100 and count < 4:
        x, count = x * 2, count + 1
    return x, count


def host_in_the_middle(x):
    return ((x + 1).double().cumsum(0) * 2).float() - x


def number_of_the_host(x):
    kept = (x.double() * 2).sum().item()
    return x * 2 if kept > 0 else x


@pytest.mark.parametrize(
    "function", [branches, branches_on_bool, reads_a_list, loops, host_in_the_middle, number_of_the_host]
)
def test_each_outcome_has_its_branch(function, session):
    step = session.record(function)
    for number in (1, 1, -1, -1, 3, -3, 50, 50, -50, 1, -1, 3):
        given, expected = step(X + number), function(X + number)
        assert repr(given) == repr(expected)
    assert step.counts.replays >= 2, vars(step.counts)
    assert not step.counts.refusals


def test_a_new_outcome_writes_nothing_twice(session):
    def function(x, cache):
        cache.add_(x)
        return x + 1 if cache.sum() > 0 else x - 1

    step = session.record(function)
    cache, plain = session.to_device(torch.zeros(4, 4)), torch.zeros(4, 4)
    for number in (1, 1, 1, -9, -9, 20, 20, -9):
        given, expected = step(X + number, cache), function(X + number, plain)
        assert given.tolist() == expected.tolist()
        assert cache.tolist() == plain.tolist()


def test_random_numbers_are_drawn_as_without_a_recording(session):
    def function(x):
        return torch.nn.functional.dropout(x, 0.5) + torch.rand(4, 4), torch.randint(0, 9, (3,))

    def run(call):
        torch.manual_seed(3)
        return [(a.tolist(), b.tolist()) for a, b in (call(X.clone()) for _ in range(6))]

    step = session.record(function)
    assert run(step) == run(function)
    assert step.counts.replays == 4


def test_random_numbers_before_a_new_outcome_are_not_drawn_twice(session):
    def function(x):
        y = x + torch.rand(4, 4)
        return y if y.sum() > 4 else -y + torch.rand(4, 4)

    def run(call):
        torch.manual_seed(3)
        return [call(X.clone()).tolist() for _ in range(12)]

    step = session.record(function)
    assert run(step) == run(function)


def test_printing_is_seen(session, capsys):
    def function(x):
        print(x + 1)
        return x * 2

    step = session.record(function)
    for number in (1, 2, 3):
        assert step(X + number).tolist() == ((X + number) * 2).tolist()
        assert capsys.readouterr().out.strip() == str(X + number + 1)


def test_host_tensors_that_are_written_stay_as_they_are_when_a_replay_ends_early(session):
    counter = torch.zeros(3, dtype=torch.int64)

    def function(x):
        counter.add_(1)
        return x + 1 if x.sum() > 0 else x - 1

    step = session.record(function)
    for number, calls in ((1, 1), (1, 2), (1, 3), (-1, 4), (-1, 5), (1, 6)):
        step(X + number)
        assert counter.tolist() == [calls] * 3


@pytest.mark.parametrize("inference", [True, False])
def test_inference_mode(inference):
    block = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with torch.inference_mode(inference), torch.no_grad(), block as session:
        step = session.record(host_in_the_middle)
        for number in range(4):
            found = step(X + number)
            assert found.is_inference() == inference
            assert found.tolist() == host_in_the_middle(X + number).tolist()
        assert step.counts.replays == 2
