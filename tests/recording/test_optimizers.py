"""Steps of optimizers that count their steps, and whose learning rate changes, are replayed and never stale."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn, optim

OPTIMIZERS = {
    "Adam": lambda ps: optim.Adam(ps, lr=0.02, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda ps: optim.AdamW(ps, lr=0.02),
    "AdamW foreach": lambda ps: optim.AdamW(ps, lr=0.02, foreach=True),
    "AdamW fused": lambda ps: optim.AdamW(ps, lr=0.02, fused=True),
    "AdamW fused, a tensor": lambda ps: optim.AdamW(ps, lr=torch.tensor(0.02), fused=True),
    "RAdam": lambda ps: optim.RAdam(ps, lr=0.02),
    "Adamax foreach": lambda ps: optim.Adamax(ps, lr=0.02, foreach=True),
    "Adagrad fused": lambda ps: optim.Adagrad(ps, lr=0.02, lr_decay=0.1, fused=True),
    "SGD": lambda ps: optim.SGD(ps, lr=0.02, momentum=0.9, nesterov=True),
}


def trained(make, change, session=None, calls=8, also=lambda optimizer: None):
    """The losses, what `also` gives in the step, and the parameters in the end; and what has recorded the step."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = make(net.parameters())
    changes = change(optimizer)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach(), also(optimizer)

    call = session.record(step) if session is not None else step
    seen = []
    for number in range(calls):
        loss, more = call(torch.randn(2, 4), torch.randn(2, 3))
        seen.append((loss.item(), more))
        changes(number)
    return seen, [p.tolist() for p in net.parameters()], call


def both(device, make, change, **options):
    """What recorded the step, whose outcome is held to be that of the step itself, and close to that of the CPU."""
    expected = trained(make, change, **options)
    with device as session:
        found = trained(make, change, session, **options)
    assert [more for _, more in found[0]] == [more for _, more in expected[0]]
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=2e-4, atol=2e-4)
    return found[2].counts


def decays(optimizer):
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    return lambda number: scheduler.step()


def setting(place, what):
    """Changes the optimizer after one call."""
    return lambda optimizer: lambda number: what(optimizer) if number == place else None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_replayed_while_the_learning_rate_changes(name, device):
    counts = both(device, OPTIMIZERS[name], decays, calls=10 if name == "RAdam" else 8)
    assert counts.replays >= 3, vars(counts)
    assert counts.recordings <= 2, "once more when the learning rate first changes"
    assert counts.paths <= 3
    assert not counts.refusals


def cycles(optimizer):
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=9)
    return lambda number: scheduler.step()


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_all_numbers_that_change_become_numbers_of_the_replay(name, device):
    counts = both(device, OPTIMIZERS[name], cycles)
    assert counts.recordings == 2
    assert counts.replays >= 4, vars(counts)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.param_groups[0].update(lr=1),
        lambda o: o.param_groups[0].update(eps=0.1),
        lambda o: o.param_groups[0].update(weight_decay=0.5),
        lambda o: [state["step"].zero_() for state in o.state.values()],
        lambda o: list(o.state.values())[1]["step"].fill_(50),
        lambda o: next(iter(o.state.values()))["exp_avg"].mul_(3),
        lambda o: o.load_state_dict(
            {**(s := copy.deepcopy(o.state_dict())), "param_groups": [{**s["param_groups"][0], "lr": 0.3}]}
        ),
        lambda o: o.add_param_group({"params": [nn.Parameter(torch.ones(3))], "lr": 0.1}),
    ],
)
def test_a_changed_optimizer_is_never_stale(change, device):
    both(device, OPTIMIZERS["AdamW"], setting(4, change), calls=9)


@pytest.mark.parametrize(
    "reads",
    [
        lambda o: math.cos(dict(o.param_groups[0])["lr"]),
        lambda o: f"{ {**o.param_groups[0]}['lr']:.6f}",
        lambda o: o.state_dict()["param_groups"][0]["lr"],
    ],
)
def test_who_else_reads_the_learning_rate_sees_that_of_the_call(reads, device):
    counts = both(
        device,
        OPTIMIZERS["AdamW"],
        lambda o: lambda number: number in (4, 5) and o.param_groups[0].update(lr=0.1 * number),
        also=reads,
        calls=9,
    )
    assert counts.replays


def test_a_learning_rate_that_the_function_sets_is_set_at_each_call(device):
    rates = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6] * 2)
    both(
        device,
        OPTIMIZERS["AdamW"],
        lambda o: lambda number: None,
        calls=6,
        also=lambda o: o.param_groups[0].__setitem__("lr", next(rates)),
    )


def test_numbers_of_numpy_are_not_taken_for_those_of_python(device):
    both(device, lambda ps: optim.AdamW(ps, lr=0.02, betas=(np.float64(0.8), np.float64(0.9))), decays, calls=6)


def test_a_group_that_is_reached_otherwise_is_guarded(device):
    groups = []

    def make(parameters):
        optimizer = OPTIMIZERS["AdamW"](parameters)
        groups[:] = optimizer.param_groups
        return optimizer

    both(device, make, decays, also=lambda o: groups[0]["lr"])


def test_what_the_step_of_an_own_class_makes_of_numbers_is_seen(device):
    class Own(optim.Adam):
        def step(self, closure=None):
            for group in self.param_groups:
                group["eps"] = 1e-8 * math.exp(group["lr"])
            return super().step(closure)

    both(device, lambda ps: Own(ps, lr=0.02), decays, calls=6)


def test_numbers_decide_on_branches_that_are_recorded(device):
    def change(optimizer):
        return lambda number: optimizer.param_groups[0].update(weight_decay=0.1 * (number % 2))

    counts = both(device, OPTIMIZERS["AdamW"], change, calls=10)
    assert counts.replays >= 3, vars(counts)


def test_ops_that_write_and_return_nothing_are_no_reads(device):
    """The gradients' scale is taken off in place, and the flag for infinities is set, without a result."""
    with device as session:

        def step(gradient, flag):
            torch._amp_foreach_non_finite_check_and_unscale_([gradient], flag, torch.tensor(0.5))
            return gradient + 1

        call = session.record(step)
        for number in range(5):
            gradient, flag = torch.full((3,), float(number)), torch.zeros(1)
            if number == 4:
                gradient[0] = math.inf
            assert call(gradient, flag).tolist() == [
                math.inf if number == 4 else number / 2 + 1,
                number / 2 + 1,
                number / 2 + 1,
            ]
            assert gradient[1].item() == number / 2
            assert flag.item() == (number == 4)
        assert call.counts.replays
