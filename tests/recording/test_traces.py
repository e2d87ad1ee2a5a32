"""`record(function, trace=True)`: a trace of the device replays a function, and never gives another's values."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

import ttreg
from ttreg.blocks.compile import close_sessions

from .stand_in_traces import Tracing

X = torch.arange(-8.0, 8).reshape(4, 4) / 4


@pytest.fixture
def mode(monkeypatch):
    monkeypatch.setattr("ttreg.devices._open", {})
    monkeypatch.setattr("ttreg.devices.chip.open_chip", Tracing)
    monkeypatch.setattr("ttreg.devices.chip_present", lambda: True)
    close_sessions()

    def make(**keywords):
        return ttreg.device_mode(**{"device": "ttnn", "min_upload_numel": 0, "trace_region_size": 1 << 20} | keywords)

    with torch.no_grad():
        yield make
    gc.collect()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()


def test_a_function_is_captured_once_and_executed_at_each_call(mode):
    net = network()
    expected = [net(X + number) for number in range(8)]
    with mode() as session:
        step = session.record(net, trace=True)
        for number in range(8):
            torch.testing.assert_close(step(X.clone() + number).host(), expected[number])
        (row,) = session.report().recorded
        assert session.device.log == ["capture of 3"] + ["execute"] * 6
        assert (row.traced, row.untraced) == (6, {})


def test_results_that_are_held_stay_as_they_are(mode):
    net = network()
    expected = [(net(X + n), net(X + n) * 2) for n in range(8)]
    with mode() as session:
        step = session.record(net, trace=True)
        results = [step(X.clone() + number) for number in range(8)]
        twice = [result * 2 for result in results]
        for (one, other), result, double in zip(expected, results, twice, strict=True):
            torch.testing.assert_close(result.host(), one)
            torch.testing.assert_close(double.host(), other)
        assert step.counts.traced == 6


def test_tensors_and_uploads_of_the_program_are_not_overwritten(mode):
    net, more = network(), torch.nn.Parameter(X.clone())
    with mode() as session:
        step = session.record(net, trace=True)
        early = session.to_device(X)
        for number in range(8):
            x = session.to_device(X + number)  # a tensor of the device as an argument
            between = x * 3 @ more
            waiting, part = x * 0.5, x[1:]
            result = step(x)
            torch.testing.assert_close(result.host(), net[2](net[1](net[0](X + number))).host())
            torch.testing.assert_close(x.host(), X + number)
            torch.testing.assert_close(between.host(), ((X + number) * 3 @ more).host())
            torch.testing.assert_close(waiting.host(), (X + number) * 0.5)
            torch.testing.assert_close(part.host(), (X + number)[1:])
            torch.testing.assert_close((early @ more).host(), (X @ more).host())
        assert step.counts.traced


def test_state_that_a_function_writes_to(mode):
    with mode() as session:
        state = session.to_device(torch.zeros(4, 4))

        def function(x):
            state.add_(x)
            return state * 2

        step = session.record(function, trace=True)
        total = torch.zeros(4, 4)
        for number in range(8):
            result = step(X.clone() + number)
            total += X + number
            torch.testing.assert_close(result.host(), total * 2)
        torch.testing.assert_close(state.host(), total)
        assert step.counts.traced == 6


def test_recordings_of_other_sizes_and_functions_take_turns(mode):
    net, other = network(), network()
    expected = {(n, size): net((X + n)[:size]) for n in range(6) for size in (2, 4)}
    with mode() as session:
        step, another = session.record(net, trace=True), session.record(lambda x: other(x) + 1, trace=True)
        for number in range(6):
            for size in (4, 2):
                x = (X + number)[:size]
                torch.testing.assert_close(step(x.clone()).host(), expected[number, size])
                torch.testing.assert_close(another(x.clone()).host(), expected[number, size] + 1)
        assert step.counts.traced
        (reason,) = another.counts.untraced
        assert "trace of another recording" in reason
        assert len(session.device.traces) == 1


def test_weights_that_change_are_captured_anew(mode):
    net = network()
    with mode() as session:
        step = session.record(net, trace=True)
        for number in range(16):
            if number in (5, 10):
                net[0].weight.mul_(2)
            torch.testing.assert_close(step(X.clone()).host(), net(X.clone()).host())
        assert step.counts.traced > 4


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x + 1 if x.sum().item() else x, "it reads a value"),
        (lambda x: torch.relu(x.double().exp().float()) * 2, "it gives what no ttnn call makes|the host computes"),
        (lambda x: torch.rand(4, 4) @ x, "it draws random numbers"),
        (lambda x: (x @ x).double(), "the host computes with what the device has computed|no ttnn call makes"),
    ],
)
def test_functions_that_are_more_than_ttnn_calls_say_why_they_are_not_traced(mode, function, reason):
    with mode() as session:
        step = session.record(function, trace=True)
        for _ in range(5):
            step(X.clone())
        (row,) = session.report().recorded
        assert row.replays
        if row.untraced:
            assert any(part in next(iter(row.untraced)) for part in reason.split("|"))
        else:
            assert row.traced, row  # all of its host ops come first


def test_a_region_that_is_too_small_is_told(mode):
    net = network()
    with mode(trace_region_size=64) as session:
        step = session.record(net, trace=True)
        for number in range(6):
            torch.testing.assert_close(step(X + number).host(), net(X + number).host())
        (row,) = session.report().recorded
        assert row.replays == 4
        assert "only 64B is allocated" in next(iter(row.untraced))


def test_other_sessions_of_the_device_are_not_overwritten(mode):
    net = network()
    with mode() as outer:
        x = outer.to_device(X)
        with mode(precision="bfloat16") as session:
            step = session.record(net, trace=True)
            for _ in range(5):
                step(X.clone())
            (row,) = session.report().recorded
        torch.testing.assert_close((x * 2).host(), X * 2)
    assert not row.traced
    assert "another session" in next(iter(row.untraced))


def test_a_trace_ends_with_its_session(mode):
    with mode() as session:
        step = session.record(network(), trace=True)
        for _ in range(5):
            result = step(X.clone())
    assert step.counts.traced
    del step
    gc.collect()
    assert not session.device.traces
    torch.testing.assert_close(result, network()(X))


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"device": "emulated"}, "the emulated device has no traces"),
        ({"device": "mock"}, "on ttnn's mocked chips, the first call of a capture crashes the process"),
        ({"device": "emulated", "validate": True}, "on ttnn's mocked chips"),
    ],
)
def test_devices_without_traces_say_so_and_replay(keywords, reason):
    with torch.no_grad(), ttreg.device_mode(min_upload_numel=0, **keywords) as session:
        step = session.record(network(), trace=True)
        for _ in range(4):
            step(X.clone())
        (row,) = session.report().recorded
        assert row.replays == 2
        assert next(iter(row.untraced)).startswith(reason)
        assert reason in str(session.report())


def test_a_chip_that_is_open_without_a_region_says_so(mode):
    with mode(trace_region_size=0) as session:
        step = ttreg.recorded(trace=True)(lambda x: x @ x)
        for _ in range(4):
            step(X.clone())
        (row,) = session.report().recorded
        assert "trace_region_size" in next(iter(row.untraced))


def test_reduced_overhead_asks_for_traces(mode, monkeypatch):
    for name, value in (("DEVICE", "ttnn"), ("TRACE_REGION_SIZE", "65536"), ("MIN_UPLOAD_NUMEL", "0")):
        monkeypatch.setenv(f"TTREG_{name}", value)
    torch._dynamo.reset()
    net = network()
    function = torch.compile(net, backend="ttreg", mode="reduce-overhead")
    results = [function(X + number) for number in range(7)]
    for number, result in enumerate(results):
        torch.testing.assert_close(result, net(X + number))
    (row,) = ttreg.compile_session().report().recorded
    assert row.traced == 4
    torch._dynamo.reset()
