"""What the device computes and the program has on the host: steps of optimizers on parameters, `out=`, buffers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ttreg

G = torch.linspace(0, 2, 2048).view(32, 64)
PROGRAMS: list = []


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_memory_has_what_it_has_on_cpu(program, dtype, device):
    expected = program(lambda t: t.to(dtype, copy=True), dtype)
    with device as session, torch.no_grad():
        given = program(lambda t: session.to_device(t.to(dtype)), dtype)
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    for one, other in zip(given, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(torch.tensor(one.tolist()), torch.tensor(other.tolist()), rtol=tolerance, atol=0.01)


@program
@torch.no_grad()
def a_parameter_that_is_used_between_its_steps(tensor, dtype):
    p, g = nn.Parameter(torch.linspace(-1, 1, 2048, dtype=dtype).view(32, 64)), tensor(G)
    version = p._version
    used = [p * 1]
    p.add_(g, alpha=-0.1)
    used.append(p * 1)
    p.addcdiv_(g, g + 1, value=0.5)
    return *used, p * 1, p.detach(), torch.tensor(p._version - version)


@program
@torch.no_grad()
def parts_of_a_buffer(tensor, dtype):
    buffer, g = torch.zeros(5000, dtype=dtype), tensor(G)
    part = buffer[64 : 64 + 2048].view(32, 64)
    torch.mul(g, 0.5, out=part)
    first = buffer + 1
    buffer[:2048].add_(g.view(-1))
    part.mul_(g)
    return first, buffer + 1, buffer[60:70] * 1, part


@program
@torch.no_grad()
def memory_with_gaps_and_other_dtypes(tensor, dtype):
    g = tensor(G)
    turned, wide, narrow = torch.ones(64, 32, dtype=dtype).t(), torch.ones(32, 64), torch.ones(32, 64).bfloat16()
    for each in (turned, wide, narrow):
        each.add_(g)
    return turned * 1, wide * 1, narrow * 1


@program
@torch.no_grad()
def numpy_sees_it(tensor, dtype):
    memory = torch.ones(32, 64)
    seen = memory.numpy()
    memory.add_(tensor(G))
    return torch.from_numpy(seen.copy()), memory + 1


def test_a_step_of_an_optimizer_runs_on_the_device(device):
    parameter = nn.Parameter(torch.ones(32, 64))
    optimizer = torch.optim.AdamW([parameter], weight_decay=0.0)
    with device as session:
        (parameter * session.to_device(G)).sum().backward()
        optimizer.step()
    report = session.report()
    assert report.totals.host_float == 0, report
    assert {row.placement for row in report.ops if row.op == "aten.addcdiv_.default"} == {"device"}


def test_no_more_comes_down_than_what_is_written(device):
    with device as session, torch.no_grad():
        g, wide, one = session.to_device(G), torch.ones(32, 64), session.to_device(torch.tensor(2.0))
        wide.addcmul_(g, g + 1)
        assert session.report().transfers.download_bytes == wide.nbytes
        wide.mul_(one)  # the host needs four bytes
        assert session.report().transfers.download_bytes == wide.nbytes + 4
    torch.testing.assert_close(wide, 2 * (1 + G * (G + 1)))


def test_the_host_keeps_all_bits_of_what_the_device_holds_in_fewer():
    with ttreg.device_mode(device="emulated", min_upload_numel=0, precision="bfloat16") as session, torch.no_grad():
        weight, step = torch.ones(32, 64), session.to_device(torch.full((32, 64), 2.0**-12))
        for _ in range(4):
            weight.add_(step)
    assert weight.unique().tolist() == [1 + 2.0**-10]


def test_writes_that_overlap_are_refused_as_on_cpu(device):
    memory = torch.arange(3000.0)
    with device as session, pytest.raises(RuntimeError, match="unsupported operation"):
        torch.addcmul(memory[:2048], session.to_device(G).view(-1), memory[:2048], out=memory[1:2049])
    assert torch.equal(memory, torch.arange(3000.0))


def test_a_recorded_step_writes_to_the_program_s_own_memory(device):
    memory, plain = torch.zeros(32, 64), torch.zeros(32, 64)
    with device as session, torch.no_grad():
        step = session.record(lambda g: memory.add_(g * 2).sum())
        sums = [float(step(session.to_device(G * n))) for n in range(1, 5)]
    expected = [float(plain.add_(G * n * 2).sum()) for n in range(1, 5)]
    torch.testing.assert_close(sums, expected)
    torch.testing.assert_close(memory, plain)
    assert step.counts.replays
