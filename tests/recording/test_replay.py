"""A recorded function does at each call what it does without a recording."""

from __future__ import annotations

import pytest
import torch

import ttreg

QUARTERS = torch.arange(-8.0, 8).reshape(4, 4) / 4


def x(number):
    return (QUARTERS * (number + 1),)


def two(number):
    return QUARTERS * (number + 1), QUARTERS.t() + number


def exact(function):
    """A function on numbers for which the device and the CPU agree in every bit."""
    return lambda: function


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda a: a * 2 + 1, x),
        (lambda a: (a + 1, (a * 2)[1:], {"sum": a.sum()}), x),
        (lambda a, b: torch.cat([a, b]).t()[1], two),
        (lambda a, b: torch.where(a > b, a, b).amax(1), two),
        (lambda a: a.view(2, 8).unbind(0), x),
        (lambda a: a.expand(2, 4, 4) + torch.arange(4.0), x),
        (lambda a: a + torch.tensor([1.0, 2.0, 3.0, 4.0]), x),
        (lambda a: (a.sort(1).values, a.argmax()), x),
        (lambda a: a[[0, 2]] * 2, x),
        (lambda a: a.double() * 2, x),
        (lambda a: (a * 2).double().cumsum(0).float() + 1, x),
        (lambda a: a.to(torch.int64) + 3, x),
        (lambda a: (a.max(1), a * 3), x),
        (lambda a: None, x),
        (lambda a: (a, 3, "text", a.shape), x),
        (lambda a: torch.zeros(3) + torch.ones(3), x),
    ],
)
def test_results_are_those_of_the_cpu(function, inputs, called):
    with torch.no_grad():
        called(exact(function), inputs)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a.add_(b),
        lambda a, b: (a.mul_(2), b.add_(a), a - b)[2],
        lambda a, b: a[1].copy_(b[0]) + 1,
        lambda a, b: a.t().add_(b).sum(),
        lambda a, b: (a + b, a.zero_())[0],
        lambda a, b: a.view(-1)[3:7].mul_(2),
        lambda a, b: a.copy_(a.double().cumsum(1)) + b,
    ],
)
@pytest.mark.parametrize("where", ["host", "device"])
def test_writes_to_arguments_happen_in_a_replay(function, where, device):
    def run(function, to_device):
        held, seen = [], []
        for number in range(5):
            a, b = (to_device(t.clone()) for t in two(number))
            before = a[0] if number % 2 else None
            result = function(a, b)
            seen.append([t.tolist() for t in (a, b, result)] + [before.tolist() if before is not None else None])
            held.append(result)
        return seen

    with torch.no_grad():
        plainly = run(function, lambda t: t)
        with device as session:
            step = session.record(function)
            recorded = run(step, session.to_device if where == "device" else lambda t: t)
    assert recorded == plainly
    assert step.counts.replays == 3 or step.counts.refusals


def test_arguments_that_share_memory_are_not_taken_for_others(session):
    step = session.record(lambda a, b: (a.add_(1), b * 2)[1])
    for _ in range(3):
        a, b = session.to_device(QUARTERS.clone()), session.to_device(QUARTERS.clone())
        assert step(a, b).tolist() == (QUARTERS * 2).tolist()
    for _ in range(3):
        a = session.to_device(QUARTERS.clone())
        assert step(a, a).tolist() == ((QUARTERS + 1) * 2).tolist()
    for _ in range(3):
        a = session.to_device(QUARTERS.clone())
        assert step(a, a.t()).tolist() == ((QUARTERS + 1) * 2).t().tolist()


def test_tensors_with_one_value_at_the_recording_may_have_two_later(session):
    step = session.record(lambda a, b: a * 2 + b)
    a = session.to_device(QUARTERS)
    step(a, a.clone())
    for number in range(4):
        b = session.to_device(QUARTERS + number)
        assert step(a, b).tolist() == (QUARTERS * 2 + QUARTERS + number).tolist()


def test_equal_content_at_the_recording_may_be_different_later(session):
    step = session.record(lambda a, b: a * 2 + b)
    step(QUARTERS.clone(), QUARTERS.clone())
    for number in range(4):
        assert step(QUARTERS, QUARTERS + number).tolist() == (QUARTERS * 3 + number).tolist()


def test_results_of_earlier_replays_stay(session):
    step = session.record(lambda a: a + 1)
    held = [step(QUARTERS * number) for number in range(6)]
    assert [t.tolist() for t in held] == [(QUARTERS * number + 1).tolist() for number in range(6)]
    held[3].zero_()
    assert step(QUARTERS * 1).tolist() == (QUARTERS + 1).tolist()
    assert step.counts.replays == 5


@pytest.mark.parametrize("device", ["emulated", "mock"])
def test_a_replay_makes_ttnn_calls_only(device, monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.LayerNorm(8)).eval()
    with torch.no_grad(), ttreg.device_mode(device=device, min_upload_numel=0) as session:
        step = session.record(net)
        for _ in range(2):
            step(QUARTERS.clone())
        given = QUARTERS.clone()
        before = session.report().totals.calls
        result = step(given)
        assert session.report().totals.calls == before
        assert isinstance(result, ttreg.DeviceTensor)
        if device == "emulated":
            assert result.tolist() == net(QUARTERS).tolist()


def test_calls_that_ttnn_itself_is_to_see_are_no_replays():
    """A replay makes ttnn's calls without what logs or compares them."""
    import ttnn

    with ttreg.device_mode(device="mock", min_upload_numel=0) as session:
        step = session.record(lambda a: a + 1)
        for _ in range(3):
            step(QUARTERS)
        assert step.counts.replays == 1
        ttnn.graph.enable_python_io_recording()
        try:
            step(QUARTERS)
        finally:
            ttnn.graph.disable_python_io_recording()
        assert step.counts.replays == 1
        assert dict(step.counts.eager_calls) == {"ttnn logs, compares or traces each call": 1}
        step(QUARTERS)
        assert step.counts.replays == 2


def test_an_outputs_later_part_is_not_made_after_the_recording(session):
    step = session.record(lambda a: a.max(1).indices)
    for number in range(4):
        assert step(QUARTERS.roll(number, 1)).tolist() == QUARTERS.roll(number, 1).max(1).indices.tolist()


def returned_twice(a):
    moved = a.t()
    on_host = (a + 1).double()
    return a, moved, moved.add_(1), [moved], on_host, on_host.add_(1), on_host.t()


def test_a_result_that_comes_again_is_the_same_tensor(session):
    step = session.record(returned_twice)
    for number in range(4):
        a, moved, again, (inside,), on_host, written, turned = step(given := session.to_device(QUARTERS + number))
        assert a is given
        assert moved is again is inside
        assert on_host is written is not turned
        assert on_host.tolist() == (QUARTERS + number + 2).tolist()
    assert step.counts.replays == 2


def test_an_exception_leaves_nothing_half_written(session):
    def function(a, index):
        a.add_(1)
        return a[index]

    step = session.record(function)
    a = session.to_device(QUARTERS.clone())
    for _ in range(3):
        step(a, torch.tensor([0, 1]))
    with pytest.raises(IndexError):
        step(a, torch.tensor([0, 9]))
    assert a.tolist() == (QUARTERS + 4).tolist()  # as without a recording, where the first line has run


def test_an_argument_whose_step_still_waits_is_made_by_the_device_alone(session):
    step = session.record(lambda a: a.reshape(2, 8).sum(0))
    x = session.to_device(QUARTERS)
    for _ in range(4):
        a = x * 0.5
        assert step(a).tolist() == (QUARTERS * 0.5).reshape(2, 8).sum(0).tolist()
        assert {type(value.data) for value in a._cell.values.values()} == {torch.Tensor}
    assert step.counts.replays == 2


def test_views_of_tensors_on_the_host_are_results(session):
    weight = torch.nn.Parameter(QUARTERS.clone())
    step = session.record(lambda a, host: (a @ weight, weight.t(), host[1:]))
    for number in range(4):
        host = QUARTERS + number
        product, turned, part = step(session.to_device(QUARTERS), host)
        assert product.tolist() == (QUARTERS @ weight.detach()).tolist()
        part.add_(1)
        assert host[1:].tolist() == (QUARTERS + number)[1:].add(1).tolist()
        assert turned.data_ptr() == weight.data_ptr()
        assert turned.tolist() == weight.t().tolist()
        weight.data.add_(0)
    assert step.counts.replays, step.counts.row()
