"""Training steps are recorded whole: forward, backward and optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ttreg

OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
}


def network(session, on_device):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    if on_device:
        for module in net.modules():
            for name, parameter in module._parameters.items():
                module._parameters[name] = nn.Parameter(session.to_device(parameter.detach()))
    return net


def trained(session, recorded, on_device, optimizer, clears, change=lambda net, step: None):
    """Six steps: the losses, and in the end all parameters, gradients and buffers."""
    net = network(session, on_device)
    stepper = OPTIMIZERS[optimizer](net.parameters())

    def step(x, y):
        if clears:
            stepper.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        stepper.step()
        return loss.detach()

    call = session.record(step) if recorded else step
    torch.manual_seed(1)
    losses = []
    for number in range(6):
        losses.append(call(torch.randn(6, 8), torch.randn(6, 4)).item())
        change(net, number)
    state = {name: value.tolist() for name, value in net.state_dict().items()}
    return (losses, state, [p.grad is not None and p.grad.tolist() for p in net.parameters()]), call


@pytest.mark.parametrize(
    ("optimizer", "on_device", "clears"),
    [
        ("SGD", True, True),
        ("SGD", False, True),
        ("SGD", True, False),
        ("momentum", False, True),
        ("momentum", True, False),
        ("AdamW", False, True),
    ],
)
def test_a_recorded_step_trains_as_the_step_does(optimizer, on_device, clears, device):
    with device as session:
        expected, _ = trained(session, False, on_device, optimizer, clears)
        found, step = trained(session, True, on_device, optimizer, clears)
    assert found == expected
    assert step.counts.replays, vars(step.counts)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, step: step == 3 and net[0].weight.data.mul_(2),
        lambda net, step: step == 3 and net.train(False),
        lambda net, step: step == 3 and net[0].bias.requires_grad_(False),
        lambda net, step: step == 3 and net[3].__setattr__("bias", nn.Parameter(torch.zeros(4))),
        lambda net, step: step == 3 and net[0].weight.register_hook(lambda gradient: gradient * 2),
        lambda net, step: step == 3 and net[3].weight.grad.zero_(),
        lambda net, step: step >= 3 and net.zero_grad(),
    ],
)
def test_a_change_between_steps_is_seen(change, device):
    with device as session:
        expected, _ = trained(session, False, False, "SGD", False, change)
        found, step = trained(session, True, False, "SGD", False, change)
    assert found == expected
    assert step.counts.replays


def test_gradients_of_a_part_outside_are_refused(session):
    with torch.enable_grad():
        weight = nn.Parameter(torch.ones(4))

        def step(h):
            h.sum().backward()
            return h.detach() * 2

        call = session.record(step)
        for number in range(1, 5):
            call(weight * 2)
            assert weight.grad.tolist() == [2.0 * number] * 4


def test_a_first_part_alone_gives_right_gradients(session):
    with torch.enable_grad():
        weight = nn.Parameter(torch.ones(4))
        call = session.record(lambda x: x * weight)
        for number in range(1, 5):
            call(torch.arange(4.0)).sum().backward()
            assert weight.grad.tolist() == [number * x for x in (0.0, 1.0, 2.0, 3.0)]
    assert any("requires grad" in reason for reason in call.counts.refusals)


def test_gradients_of_arguments_are_set(session):
    def step(x):
        (x * x).sum().backward()

    with torch.enable_grad():
        call = session.record(step)
        for number in range(5):
            x = (torch.arange(4.0) * number).requires_grad_()
            call(x)
            assert x.grad.tolist() == [2 * number * v for v in (0.0, 1.0, 2.0, 3.0)]
        assert call.counts.replays == 3
        held = torch.arange(4.0).requires_grad_()
        for number in range(1, 4):
            call(held)
            assert held.grad.tolist() == [2 * number * v for v in (0.0, 1.0, 2.0, 3.0)]


def test_block_floats_are_guarded(session):
    net = nn.Linear(32, 32)
    net.requires_grad_(False)
    x = torch.randn(32, 32)
    call = session.record(net)
    for _ in range(3):
        assert call(x).tolist() == net(x).tolist()
    ttreg.carry_in(net, "bfloat4_b")
    assert call(x).tolist() == net(x).tolist()
