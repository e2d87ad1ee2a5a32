"""Calls that are decided differently have different signatures."""

from __future__ import annotations

import itertools

import pytest
import torch

from ttreg import meta
from ttreg.meta import meta_of
from ttreg.runtime.signature import signature

aten = torch.ops.aten
X = torch.arange(16.0).reshape(4, 4)


NUMBERS = [[], [0], [1], [True], [1.0], [0.0], [-0.0], [None], [1, 1], ["1"]]
LISTS = [[], [[]], [[0]], [[1]], [[True]], [[1, 1]], [[1], 1], [[1], True], [None, 1]]  # where the schema has a list


@pytest.mark.parametrize("more", [NUMBERS, LISTS], ids=["numbers", "lists"])
def test_calls_that_look_alike_have_different_signatures(more, device):
    with device as session:
        on_device = session.to_device(X)
        tensors = (on_device, on_device.view(16)[:4], X, X.view(16)[:4])  # True == 1 == 1.0 to a dict, and 0.0 == -0.0
        calls = [(aten.triu.default, (tensor, *rest)) for tensor in tensors for rest in more]
        calls += [(aten.cat.default, ([tensor], *rest)) for tensor in tensors for rest in more]
        calls += [(aten.cat.default, (pair,)) for pair in itertools.permutations(tensors, 2)]
        keys = [signature(session, op, args, {}) for op, args in calls]
    assert len(set(keys)) == len(calls)


@pytest.mark.parametrize("first", ["device", "host"])
def test_a_default_on_the_device_and_a_one_on_the_host_are_told_apart(first, device):
    programs = {
        "triu": (lambda t: t.triu(), lambda t: t.triu(1)),
        "cat": (lambda t: torch.cat([t, t]), lambda t: torch.cat([t, t], 1)),
        "flatten": (lambda t: t.unbind()[0], lambda t: t.unbind(1)[0]),
        "sum": (lambda t: t.softmax(-1).sum(), lambda t: t.softmax(-1).sum(1)),
    }
    for default, of_one in programs.values():
        with device as session:
            tensors = (session.to_device(X), X) if first == "device" else (X, session.to_device(X))
            given = default(tensors[0]).tolist(), of_one(tensors[1]).tolist()
            again = of_one(tensors[0]).tolist(), default(tensors[1]).tolist()
        assert given == (default(X).tolist(), of_one(X).tolist())
        assert again == given[::-1]


def test_the_whole_of_a_storage_and_a_part_of_one_are_told_apart(device):
    """They have the same metadata, and are written in different ways."""
    with device as session:
        whole = session.to_device(torch.ones(2, 4))
        part = session.to_device(torch.ones(3, 4))[0:2]
        assert whole._meta is part._meta
        add = torch.ops.aten.add_.Tensor
        assert signature(session, add, (whole, 1), {}) != signature(session, add, (part, 1), {})


def test_metadata_that_is_held_stays_one_object_and_the_other_is_forgotten(monkeypatch):
    monkeypatch.setattr(meta._Interned, "limit", 100)
    made = meta._Interned()
    monkeypatch.setattr(meta, "_INTERNED", made)
    held = [meta_of(torch.empty(1, size, device="meta")) for size in range(90)]
    for size in range(1000):
        assert meta_of(torch.empty(2, size, device="meta")).shape == (2, size)
        assert len(made) <= 200
    again = [meta_of(torch.empty(1, size, device="meta")) for size in range(90)]
    assert all(one is other for one, other in zip(held, again, strict=True))
    del held, again
    meta._INTERNED.make_room()
    assert len(made) == 0


def test_a_program_of_ever_new_sizes_does_not_upload_its_weights_again(monkeypatch, device):
    monkeypatch.setattr(meta, "_INTERNED", meta._Interned())
    monkeypatch.setattr(meta._Interned, "limit", 50)
    layer = torch.nn.Linear(16, 16)
    with device as session, torch.no_grad():
        for size in range(1, 200):
            layer(torch.rand(size, 16)).relu()
    assert session.report().transfers.weight_uploads == 2
