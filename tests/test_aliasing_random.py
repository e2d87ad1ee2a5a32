"""Random programs of views, in-place ops and reads, on the device as on CPU."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import ttreg

SHAPE = (4, 6)

VIEWS = {
    "t": lambda t, r: t.t() if t.ndim <= 2 else t.transpose(0, 1),
    "view": lambda t, r: t.view(-1) if t.is_contiguous() else t[...],
    "reshape": lambda t, r: t.reshape(-1, 2) if t.numel() % 2 == 0 else t.reshape(-1),
    "slice": lambda t, r: t[r.randrange(2) : t.shape[0] - r.randrange(2)] if t.ndim and t.shape[0] > 2 else t[...],
    "step": lambda t, r: t[..., :: r.choice((1, 2))] if t.ndim else t[...],
    "select": lambda t, r: t.select(r.randrange(t.ndim), 0) if t.ndim > 1 else t[...],
    "unsqueeze": lambda t, r: t.unsqueeze(r.randrange(t.ndim + 1)) if t.ndim < 4 else t.squeeze(),
    "permute": lambda t, r: t.permute(r.sample(range(t.ndim), t.ndim)),
    "chunk": lambda t, r: t.chunk(2)[-1] if t.ndim else t[...],
    "unbind": lambda t, r: t.unbind()[0] if t.ndim > 1 else t[...],
    "detach": lambda t, r: t.detach(),
    "data": lambda t, r: t.data,
    "flatten": lambda t, r: t.flatten(),
    "diagonal": lambda t, r: t.diagonal() if t.ndim == 2 else t[...],
    "alias": lambda t, r: torch.ops.aten.alias.default(t),
    "as_strided": lambda t, r: t.as_strided((2,), (1,), t.storage_offset()) if t.numel() > 2 else t[...],
    "integers": lambda t, r: t.view(torch.int32).view(torch.float32),
    "expand": lambda t, r: t[:1].expand(2, *t.shape[1:]) if t.ndim else t.expand(2),
    "narrow": lambda t, r: t.narrow(-1, 0, t.shape[-1] // 2 + 1) if t.ndim and t.shape[-1] > 1 else t[...],
}

NEW = {
    "add": lambda t, u, r: t + u if t.shape == u.shape else t + 1,
    "double": lambda t, u, r: t + t,
    "scale": lambda t, u, r: t * 0.5,
    "clone": lambda t, u, r: t.clone(),
    "contiguous": lambda t, u, r: t.contiguous(),
    "relu": lambda t, u, r: t.relu(),
    "cat": lambda t, u, r: torch.cat([t.flatten(), u.flatten()])[: t.numel()].view(t.shape),
    "to": lambda t, u, r: t.to(torch.bfloat16).to(torch.float32),
}


def write_numpy(t, u, r):
    t.detach().numpy()[...] = r.randrange(3)


def write_bits(t, u, r):
    t.view(torch.int32).zero_()


def replace_data(t, u, r):
    t.data = u


def turn(t, u, r):
    if t.ndim > 1:
        t.transpose_(0, -1)
    t.unsqueeze_(0)
    t.squeeze_(0)


def write_slice(t, u, r):
    if t.ndim:
        t[: t.shape[0] // 2 + 1] = r.randrange(4)
    else:
        t.fill_(r.randrange(4))


WRITES = {
    "add_": lambda t, u, r: t.add_(1),
    "sub_": lambda t, u, r: t.sub_(u) if t.shape == u.shape else t.sub_(0.5),
    "mul_": lambda t, u, r: t.mul_(0.5),
    "neg_": lambda t, u, r: t.neg_(),
    "zero_": lambda t, u, r: t.zero_(),
    "relu_": lambda t, u, r: t.relu_(),
    "copy_": lambda t, u, r: t.copy_(u.clone() if u.shape == t.shape else torch.tensor(2.0)),
    "clamp_": lambda t, u, r: t.clamp_(-8, 8),
    "foreach": lambda t, u, r: torch._foreach_add_([t, u], 0.25),
    "out": lambda t, u, r: torch.add(u.clone(), 1, out=t) if t.shape == u.shape else t.fill_(3),
    "numpy": write_numpy,
    "bits": write_bits,
    "data": replace_data,
    "turn": turn,
    "set_": lambda t, u, r: t.set_(u),
    "copy_device": lambda t, u, r: t.copy_(torch.ones(t.shape) * r.randrange(5)),
    "slice": write_slice,
}


def step(tensors, r):
    """One random step on the tensors, the same for the same state of `r`; returns its name."""
    t, u = r.choice(tensors), r.choice(tensors)
    kind = r.choice(("view", "view", "new", "write", "write"))
    try:
        if kind == "write":
            name = r.choice(list(WRITES))
            WRITES[name](t, u, r)
        else:
            name = r.choice(list(VIEWS if kind == "view" else NEW))
            tensors.append(VIEWS[name](t, r) if kind == "view" else NEW[name](t, u, r))
    except RuntimeError as error:  # memory that overlaps, for one
        return f"{name}: {str(error)[:60]}"
    if len(tensors) > 8:
        del tensors[r.randrange(len(tensors))]
    return name


def run(seed, start, steps=40, place=lambda step: step()):
    """The names of the steps taken, and all tensors in the end, with the values read on the way."""
    r = random.Random(seed)
    tensors, trace = [start, start.view(-1)], []
    for _ in range(steps):
        trace.append(place(lambda: step(tensors, r)))
        if r.random() < 0.2:
            trace.append(r.choice(tensors).tolist())
    return trace, [(tuple(t.shape), strides(t), t.storage_offset(), t.tolist()) for t in tensors]


def strides(t):
    """The strides that matter: in a dimension of one element, PyTorch's own vary from device to device."""
    return [stride for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1]


@pytest.mark.parametrize("where", ["device", "host"])
@pytest.mark.parametrize("seed", range(60))
def test_a_random_program_ends_as_on_cpu(seed, where, device):
    start = torch.arange(24.0).reshape(SHAPE) / 4
    expected_trace, expected = run(seed, start.clone())
    with device as session:
        trace, tensors = run(seed, session.to_device(start) if where == "device" else start.clone())
    assert trace == expected_trace
    assert tensors == expected


@pytest.mark.parametrize("seed", range(1000, 1040))
def test_a_random_program_that_changes_blocks_and_threads_ends_as_on_cpu(seed, device, monkeypatch):
    monkeypatch.delitem(WRITES, "data")  # `plain.data = on_device` is seen by the thread that is inside a block only
    start = torch.arange(24.0).reshape(SHAPE) / 4
    expected = run(seed, start.clone())
    where = random.Random(seed + 1)

    def elsewhere(step):
        chance = where.random()
        if chance < 0.2:
            with ttreg.device_mode(device="emulated", min_upload_numel=where.choice((0, 10))):
                return step()
        if chance < 0.3:
            with device:
                return step()
        if chance < 0.4:
            return pool.submit(step).result()
        return step()

    with device as session, ThreadPoolExecutor(1) as pool:
        result = run(seed, session.to_device(start), place=elsewhere)
    assert result == expected
