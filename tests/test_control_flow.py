"""PyTorch's control-flow operators run their functions on the device, as Python's own `if` and `for` would."""

from __future__ import annotations

import pytest
import torch
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._higher_order_ops.map import map as map_

import ttreg

torch.manual_seed(0)
FIRST, SECOND = torch.nn.Linear(40, 40), torch.nn.Linear(40, 40)
X = torch.randn(33, 40)


def first(x):
    return FIRST(x).relu()


def second(x):
    return SECOND(x).sigmoid()


def steps(x):
    return while_loop(lambda i, x: (i < 3) & (x.abs().sum() > 1), lambda i, x: (i + 1, first(x)), (torch.tensor(0), x))


def steps_in_python(x):
    for _ in range(3):
        x = first(x)
    return torch.tensor(3), x


def scanned(x):
    return scan(lambda carry, row: (carry + row, (carry * row).relu()), torch.zeros(40), x)


def scanned_in_python(x):
    carry, rows = torch.zeros(40), []
    for row in x:
        carry, made = carry + row, (carry * row).relu()
        rows.append(made)
    return carry, torch.stack(rows)


PROGRAMS = {
    "cond, true": (lambda x: torch.cond(x.sum() > -1e6, first, second, (x,)), first),
    "cond, false": (lambda x: torch.cond(x.sum() > 1e6, first, second, (x,)), second),
    "cond in cond": (
        lambda x: torch.cond(x.sum() < 1e6, lambda x: torch.cond(x.sum() < -1e6, first, second, (x,)), first, (x,)),
        second,
    ),
    "while_loop": (steps, steps_in_python),
    "map": (
        lambda x: map_(lambda row, by: (row * by).relu(), x, X[0]),  # type: ignore[arg-type]
        lambda x: (x * X[0]).relu(),
    ),
    "scan": (scanned, scanned_in_python),
    "associative_scan": (
        lambda x: associative_scan(torch.add, x, 0, combine_mode="generic"),
        lambda x: x.cumsum(0),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_functions_run_on_the_device(name):
    program, in_python = PROGRAMS[name]
    with torch.no_grad():
        expected = in_python(X)
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            given = program(X)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    totals = session.report().totals
    assert totals.device
    assert totals.host_float == 0


def test_gradients_reach_what_a_branch_closes_over():
    program, in_python = PROGRAMS["cond, true"]
    in_python(X).square().sum().backward()
    expected, FIRST.weight.grad, FIRST.bias.grad = FIRST.weight.grad, None, None
    with ttreg.device_mode(device="emulated"):
        program(X).square().sum().backward()
    torch.testing.assert_close(FIRST.weight.grad, expected)
    assert SECOND.weight.grad is None


def test_blocks_nest():
    with (
        torch.no_grad(),
        ttreg.device_mode(device="emulated") as outer,
        ttreg.device_mode(device="emulated") as inner,
    ):
        given = steps(X)
    torch.testing.assert_close(given[1], steps_in_python(X)[1].detach(), rtol=1e-4, atol=1e-4)
    assert inner.report().totals.device
    assert not outer.report().totals.calls


def test_tracing_takes_the_operator_as_it_is():
    class Branches(torch.nn.Module):
        def forward(self, x):
            return torch.cond(x.sum() > 0, lambda x: x.relu(), lambda x: x.sigmoid(), (x,))

    with ttreg.device_mode(device="emulated"):
        exported = torch.export.export(Branches(), (X,), strict=False)
    assert "cond" in str(exported.graph)
    torch.testing.assert_close(exported.module()(-X.abs()), X.abs().neg().sigmoid())
