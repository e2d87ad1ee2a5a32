"""Collectives of `torch.distributed` in a block: they move what is sent, and what is received is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

from ttreg.registry import registry
from ttreg.schema import overload, written_arguments

X = torch.arange(4096.0).view(64, 64)


@pytest.fixture(scope="module", autouse=True)
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _world() -> Any:
    return dist.group.WORLD


FUNCTIONAL = {
    "all_reduce": lambda x: functional.all_reduce(x, "sum", _world()),
    "all_gather": lambda x: functional.all_gather_single(x, 0, _world()),
    "reduce_scatter": lambda x: functional.reduce_scatter_single(x, "sum", 0, _world()),
    "broadcast": lambda x: functional.broadcast(x, 0, _world()),
    "all_to_all": lambda x: functional.all_to_all_single(x, None, None, _world()),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_ones_move_only_what_they_send(name, device):
    with device as session:
        x = session.to_device(X)
        received = FUNCTIONAL[name](x[8:16])
        result = received * 2
    report = session.report()
    assert torch.equal(torch.tensor(result.tolist()), X[8:16] * 2)
    assert report.totals.host_float == 0, report
    sent = sum(row.bytes_down for row in report.ops if row.op.startswith("_c10d_functional."))
    assert sent == X[8:16].nbytes


IN_PLACE = {
    "all_reduce": lambda into, given, **how: dist.all_reduce(into, **how),
    "broadcast": lambda into, given, **how: dist.broadcast(into, 0, **how),
    "reduce": lambda into, given, **how: dist.reduce(into, 0, **how),
    "all_gather": lambda into, given, **how: dist.all_gather([into], given, **how),
    "all_gather_single": lambda into, given, **how: dist.all_gather_single(into, given, **how),
    "reduce_scatter_single": lambda into, given, **how: dist.reduce_scatter_single(into, given, **how),
    "all_to_all_single": lambda into, given, **how: dist.all_to_all_single(into, given, **how),
    "scatter": lambda into, given, **how: dist.scatter(into, [given], 0, **how),
}
RECEIVERS = {
    "on the device": lambda session: session.to_device(X),
    "a part": lambda session: session.to_device(torch.cat([X, X]))[64:],
    "plain": lambda session: X.clone(),
    "a parameter": lambda session: torch.nn.Parameter(X.clone(), requires_grad=False),
}


@pytest.mark.parametrize("async_op", [False, True])
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_received_is_seen_by_the_device(name, receiver, async_op, device):
    given = X + 7
    expected = X if name in ("all_reduce", "broadcast", "reduce") else given
    with device as session:
        into, sent = RECEIVERS[receiver](session), session.to_device(given)
        before = into + 1
        work = IN_PLACE[name](into, sent, async_op=async_op)
        if async_op:
            work.wait()
        after, others = into + 1, sent * 1
    assert torch.equal(torch.tensor(before.tolist()), X + 1)
    assert torch.equal(torch.tensor(after.tolist()), expected + 1)
    assert torch.equal(torch.tensor(others.tolist()), given)


def test_what_was_received_stays_on_the_device_if_the_program_has_waited(device):
    with device as session:
        x = session.to_device(X)
        dist.all_reduce(x)
        x.mul_(2).add_(1)
    rows = {row.op: row.placement for row in session.report().ops}
    assert rows["aten.mul_.Tensor"] == rows["aten.add_.Tensor"] == "device"
    assert torch.equal(torch.tensor(x.tolist()), X * 2 + 1)


def test_a_new_tensor_like_one_of_the_device_brings_nothing_down(device):
    with device as session:
        x = session.to_device(X)
        likes = torch.empty_like(x), torch.rand_like(x), x.new_empty(3)
        assert session.report().transfers.downloads == 0
    assert [like.shape for like in likes] == [x.shape, x.shape, (3,)]


OPS = ("_c10d_functional.all_reduce", "_c10d_functional.wait_tensor", "fsdp.all_gather_copy_in", "fsdp.chunk_cat")


@pytest.mark.parametrize("name", OPS)
def test_they_have_entries_that_say_why(name):
    import torch.distributed.fsdp  # noqa: F401 (defines some of them)

    op = overload(f"{name}.default")
    entry = registry.find(op)
    assert entry is not None
    assert entry.kind == "host"
    for sample in entry.samples():
        assert len(sample.args) + len(sample.kwargs) <= len(op._schema.arguments)


def test_it_is_known_what_they_write_to():
    assert written_arguments(torch.ops.c10d.allreduce_.default) == ("tensors",)
    assert written_arguments(torch.ops.c10d._allgather_base_.default) == ("output_tensor",)
    assert written_arguments(torch.ops.c10d.send.default) == ()
    assert written_arguments(torch.ops._c10d_functional.all_reduce.default) == ()
    assert written_arguments(torch.ops._c10d_functional.all_reduce_.default) == ("input",)
