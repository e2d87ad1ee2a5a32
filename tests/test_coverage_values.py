"""What `ttreg coverage` knows without values, where it stops, and the values that it has with `--run`."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest
import torch

import ttreg
from ttreg.coverage.dry import dry_run
from ttreg.coverage.host_values import HostSession
from ttreg.coverage.shapes import ShapeSession
from ttreg.coverage.unknown import ValuesNeeded
from ttreg.settings import Settings


@contextmanager
def without_values(**keywords):
    with dry_run(ShapeSession(Settings(min_upload_numel=0, **keywords))) as session:
        yield session


def rows(of):
    return sorted((r.op, r.placement, r.condition, r.reason, r.got, r.count, r.bytes) for r in of.ops)


READS = {
    "item": lambda t: t.item(),
    "bool": lambda t: bool(t > 0),
    "float": float,
    "index": lambda t: [1, 2][(t > 0).long()],
    "list": lambda t: t.tolist(),
    "array": lambda t: t.numpy(),
    "print": repr,
    "nonzero": lambda t: t.nonzero(),
    "mask": lambda t: t[t > 0],
    "equal": lambda t: torch.equal(t, t + 1),
    "save": lambda t: torch.save(t, os.devnull),
    "address": lambda t: t.data_ptr(),
    "copy": lambda t: t.double().sin().tolist(),
    "after a write": lambda t: torch.zeros(()).copy_(t.double()).item(),
}


@pytest.mark.parametrize("read_value", READS.values(), ids=READS)
def test_a_read_of_an_unknown_value_stops_and_has_values_with_run(read_value):
    given = torch.full((64, 64), 0.5)
    with pytest.raises(ValuesNeeded), without_values() as session:
        read_value(given.sum())
    assert session.stopped is not None
    assert "test_coverage_values.py" in session.stopped.where
    with dry_run(HostSession(Settings(min_upload_numel=0))):
        result = read_value(given.sum())
    expected = read_value(given.sum())
    if not isinstance(expected, int):  # an address
        assert str(result) == str(expected)


def test_what_does_not_depend_on_floating_point_results_is_known():
    tokens = torch.tensor([[1, 2, 3, 0]] * 400)
    with without_values():
        mask = (tokens != 0).to(torch.int32)
        assert mask[0].tolist() == [1, 1, 1, 0]
        assert not (mask == 1).all()
        hidden = torch.rand(400, 4, 8) * 2
        assert hidden[mask.bool()].shape == (1200, 8)  # its shape is the mask's to say
        assert torch.zeros_like(hidden[0].double()).sum().item() == 0
        with pytest.raises(SystemExit):
            hidden[0, 0, 0].item()


def test_memory_that_an_unknown_value_is_written_to_is_unknown():
    buffer = torch.zeros(4, 64, 64)
    part = buffer[1]
    with without_values():
        part.copy_(torch.ones(64, 64) * 3)
        with pytest.raises(SystemExit):
            buffer.sum().item()


def test_an_index_that_is_known_is_checked():
    table = torch.rand(10, 64)

    def program():
        return torch.nn.functional.embedding(torch.tensor([3, 11]), table)

    with pytest.raises(IndexError), without_values() as session:
        program()
    with pytest.raises(IndexError), ttreg.device_mode(device="emulated", min_upload_numel=0) as real:
        program()
    assert rows(session.report()) == rows(real.report())


@pytest.mark.parametrize(
    "use",
    [
        lambda scores, best: torch.nn.functional.nll_loss(scores, best),
        lambda scores, best: scores.scatter_add(1, best[:, None], scores[:, :1]),
        lambda scores, best: torch.segment_reduce(scores[0], "sum", lengths=best[:1], unsafe=True),
    ],
    ids=["nll_loss", "scatter_add", "segment_reduce"],
)
def test_an_index_that_is_unknown_counts_as_within_bounds(use):
    scores = torch.eye(8)
    with without_values() as session, torch.no_grad():
        use(scores, scores.argmax(1))
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as real, torch.no_grad():
        use(scores, scores.argmax(1))
    ops, expected = ([row[:2] for row in rows(of.report())] for of in (session, real))
    assert ops == expected


def test_host_values_are_those_of_plain_pytorch():
    def program():
        torch.manual_seed(0)
        x = torch.rand(8, 40)
        x[:, 3] = 2.0
        y = x.t().reshape(4, 80).clone()
        y.chunk(2)[1].mul_(3)
        parts = torch.split(y @ y.t(), 2)
        top = parts[0].topk(2)
        return [x, y, parts[1].expand(3, 2, 4).contiguous(), top.values, top.indices, y[y > 1.5]]

    with dry_run(HostSession(Settings(min_upload_numel=0))) as session:
        results = program()
    assert session.report().totals.device > 5
    for result, expected in zip(results, program(), strict=True):
        assert torch.equal(result.clone(), expected)
