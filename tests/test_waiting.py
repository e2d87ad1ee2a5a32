"""Elementwise float32 steps that wait for the call that needs them: values, aliases, and the ttnn calls they take."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch.nn import functional as F

import ttreg
from ttreg.errors import DeviceError

TIMES = 4  # the first run of each call waits for nothing


def gelu(x):
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3.0))))


def rms_norm(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def long_chain(x):
    for _ in range(4):
        x = torch.tanh(-(x * 1.5 + 0.25))
    return x - x * 2


PROGRAMS = {
    "gelu": gelu,
    "rms norm": rms_norm,
    "gate": lambda x: F.silu(x) * (x + 1),
    "gate on the right": lambda x: (x + 1) * F.silu(x),
    "a difference": lambda x: torch.exp(x) - x * 3,
    "both wait": lambda x: -x + x * 2,
    "twice the same": lambda x: (lambda y: y * y)(x * 3),
    "with a row": lambda x: torch.arange(40.0) * (x * 0.5),
    "of a row": lambda x: x + torch.tanh(torch.arange(40.0).to(x) * 0.5),
    "a column": lambda x: x * (x[..., :1] * 2),
    "a number without dimensions": lambda x: x.sum() * 2 + x,
    "longer than may wait": long_chain,
    "scaled sum": lambda x: torch.add(x * 2, x, alpha=3),
    "an integer": lambda x: (x * 2 + 1) * x,
    "infinity": lambda x: (x * float("inf")) + x,
    "a bool": lambda x: (x * True) + x,
    "of transposed": lambda x: (x.transpose(-1, -2) * 2) + x.transpose(-1, -2),
    "read by a view": lambda x: (x * 2)[0] + (x * 2).transpose(-1, -2)[0, :3, :1],
    "read by a product": lambda x: (x * 2) @ torch.ones(40, 5),
    "concatenated": lambda x: torch.cat([-(x * 2), x + 1], -1),
    "images": lambda x: F.relu(F.conv2d(x[:, None], torch.ones(2, 1, 3, 3)) * 2) + 1,
}


@pytest.mark.parametrize("numerics", ["golden", "chip"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_are_those_of_the_steps_on_their_own(name, numerics):
    torch.manual_seed(0)
    program, x = PROGRAMS[name], torch.randn(2, 3, 40)
    settings = {"device": "emulated", "min_upload_numel": 0, "numerics": numerics, "validate": numerics == "golden"}
    with torch.no_grad(), ttreg.device_mode(**settings) as session:
        found = [program(session.to_device(x)).clone() for _ in range(TIMES)]
    assert all(torch.equal(found[0], other) for other in found)
    if numerics == "golden":
        torch.testing.assert_close(found[-1], program(x), rtol=1e-5, atol=1e-5)


def calls_of(watched, program, dtype=torch.float32, **settings):
    """The names of the ttnn calls of a program's last run."""
    names = []
    watched(lambda name, *_: names.append(name))
    settings = {"device": "emulated", "min_upload_numel": 0, **settings}
    with torch.no_grad(), ttreg.device_mode(**settings) as session:
        x = session.to_device(torch.randn(2, 3, 40).to(dtype))
        for _ in range(TIMES):
            names.clear()
            kept = program(x)
        kept.clone()
    return [name for name in names if name not in ("to_layout", "clone")]


def test_a_sum_or_product_makes_the_steps_of_its_operands(watched):
    assert calls_of(watched, gelu) == ["multiply", "add", "multiply"]


@pytest.mark.parametrize(
    ("program", "calls"),
    [
        (lambda x: F.silu(x) * x, ["multiply"]),
        (lambda x: torch.exp(-x) - x, ["subtract"]),
        (lambda x: torch.tanh(-x * 2), ["unary_chain"]),
        (lambda x: x * 2, ["multiply"]),
        (rms_norm, ["square", "mean", "multiply"]),
    ],
)
def test_steps_take_few_calls(program, calls, watched):
    assert calls_of(watched, program) == calls


@pytest.mark.parametrize("settings", [{"check": 0.99}, {"precision": "bfloat16"}, {"on_device_error": "fallback"}])
def test_where_each_call_stands_alone(watched, settings):
    assert calls_of(watched, lambda x: (x * 2) + x, **settings) == ["multiply", "add"]


def test_bfloat16_rounds_each_step(watched):
    assert calls_of(watched, lambda x: (x * 2) + x, dtype=torch.bfloat16) == ["multiply", "add"]


def test_a_number_that_changes_takes_no_programs_of_its_own(watched):
    given = iter(range(100))
    assert calls_of(watched, lambda x: (x * (1 + next(given))) + x) == ["multiply", "add"]


def test_what_weights_alone_give_is_still_made_once(watched):
    weight = torch.nn.Parameter(torch.randn(40, 40))
    assert calls_of(watched, lambda x: x @ torch.tanh(weight * 2 + 1)) == ["matmul"]


def repeated(program):
    """What a program gives, once its calls may wait, and on the CPU."""
    torch.manual_seed(0)
    x = torch.randn(3, 40)
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        found = [program(session.to_device(x.clone())) for _ in range(TIMES)][-1]
    return found, program(x.clone())


def written_before_it_is_read(x):
    y = x * 2
    x.mul_(3)
    return y + x, y


def written_itself(x):
    y = x * 2
    z = y + 1
    y.add_(5)
    y[1] = 7.0
    return y + x, z


def written_through_a_view(x):
    y = torch.tanh(x)
    row = y[1]
    row.fill_(3.0)
    return y * x, row


def kept_in_many_ways(x):
    y = x * 2 + 1
    return y.detach(), copy.deepcopy(y), y.view(-1), torch.tensor(y.tolist()), y.clone(), torch.stack([y, y]), y.numpy()


def resized(x):
    y = x * 2
    y.resize_(2, 40)
    return (y + 1,)


@pytest.mark.parametrize(
    "program", [written_before_it_is_read, written_itself, written_through_a_view, kept_in_many_ways, resized]
)
def test_what_waits_is_as_it_was_at_the_call(program):
    for got, wanted in zip(*repeated(program), strict=True):
        torch.testing.assert_close(torch.as_tensor(got).clone(), torch.as_tensor(wanted))


def test_what_waits_is_made_when_the_block_ends():
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(torch.ones(3, 40))
        kept = [torch.tanh(x * 2) for _ in range(TIMES)]
    assert all(torch.equal(y, torch.tanh(torch.full((3, 40), 2.0))) for y in kept)


def test_gradients_pass_through_what_waits():
    torch.manual_seed(0)
    x = torch.randn(3, 40)

    def gradient(x):
        x = x.clone().requires_grad_()
        (gelu(x) * rms_norm(x)).sum().backward()
        return x.grad.clone()

    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        found = [gradient(session.to_device(x)) for _ in range(TIMES)]
    for got in found:
        torch.testing.assert_close(got, gradient(x), rtol=1e-4, atol=1e-4)


def test_threads_may_need_the_same_at_once():
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(torch.ones(3, 40))
        for _ in range(TIMES):
            y, found = torch.tanh(x * 2), []
            threads = [threading.Thread(target=lambda y=y, found=found: found.append(y.tolist())) for _ in range(4)]
            for thread in threads:
                thread.start()
            y + x
            for thread in threads:
                thread.join()
            assert found == [found[0]] * 4
    assert found[0][0][0] == pytest.approx(float(torch.tanh(torch.tensor(2.0))))


def test_a_device_without_room_says_so_when_the_value_is_needed(monkeypatch):
    from ttreg.devices.base import RefusedByDevice

    def refuse(*_):
        raise RefusedByDevice("ttnn.unary_chain", "Out of Memory")

    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(torch.ones(3, 40))
        for _ in range(TIMES):
            y = torch.tanh(x * 2)
        monkeypatch.setattr(session.tt, "unary_chain", refuse)
        with pytest.raises(DeviceError, match="Out of Memory"):
            y.sum()
        monkeypatch.undo()
        assert y.sum().item() == pytest.approx(float(torch.tanh(torch.tensor(2.0))) * 120, rel=1e-4)
