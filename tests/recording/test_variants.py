"""Recordings are bounded in number and in bytes; what goes is what was used least, and the report says why."""

from __future__ import annotations

import torch

from ttreg.recording import variants
from ttreg.recording.variants import MOST_VARIANTS


def sizes(step, *those):
    for rows in those:
        x = torch.ones(rows, 32)
        assert step(x).tolist() == step.function(x).tolist()


def test_recordings_are_bounded_in_number(session):
    step = session.record(lambda x: x + 1)
    sizes(step, *range(1, 40))
    assert len(step._variants) == MOST_VARIANTS
    assert step.counts.row()["dropped"] == {f"there were more than {MOST_VARIANTS} recordings": 39 - MOST_VARIANTS}


def test_the_least_used_one_goes(session):
    step = session.record(lambda x: x + 1)
    sizes(step, 1, 2, 1, 2, 1, 2, *range(3, MOST_VARIANTS + 1), 1, MOST_VARIANTS + 1)
    before = step.counts.replays
    sizes(step, 1)
    assert step.counts.replays == before + 1
    assert len(step._variants) == MOST_VARIANTS
    sizes(step, 2)
    assert step.counts.replays == before + 1


def test_recordings_are_bounded_in_bytes(session, monkeypatch):
    """Each has a mask of its own, of 32 KiB, beside a weight that all of them share."""
    monkeypatch.setattr(variants, "MOST_BYTES", 200_000)
    weight = torch.nn.Parameter(torch.rand(32, 4096))

    def function(x):
        return (x @ weight)[:, :256] * torch.tensor([float(len(x))] * 8192).view(32, 256).sum(0)

    step = session.record(function)
    sizes(step, *range(1, 9))
    ((reason, count),) = step.counts.drops.items()
    assert "besides the latest one" in reason
    assert len(step._variants) == 8 - count == 200_000 // (32 << 10) + 1
    assert f"let go, {count} times: {reason}" in str(session.report())


def test_what_arguments_reach_is_part_of_it(session, monkeypatch):
    monkeypatch.setattr(variants, "MOST_BYTES", 300_000)

    class Cache:
        def __init__(self):
            self.rows = session.to_device(torch.rand(32, 1024))

    step = session.record(lambda x, cache: x + cache.rows.sum())
    x = torch.ones(2, 2)
    for _ in range(6):
        cache = Cache()
        assert step(x, cache).tolist() == step.function(x, cache).tolist()
    assert len(step._variants) == 3
    assert step.counts.drops.total() == 3


def test_paths_are_bounded_in_bytes(session, monkeypatch):
    monkeypatch.setattr(variants, "MOST_BYTES", 100_000)

    def function(x):
        number = x.sum().item()
        return x.sum() * torch.tensor([number] * 8192).view(64, 128).sum(0)

    step = session.record(function)
    for number in (1, 2, 3, 4, 5, 6):
        x = torch.full((2, 2), float(number))
        assert step(x).tolist() == function(x).tolist()
    assert step.counts.drops.total() >= 1
    assert all(len(variant.paths) <= 4 for variant in step._variants._by_key.values())
