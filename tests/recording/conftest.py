"""Calls a function again and again on both sides: recorded on the device, and plainly on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch

import ttreg


class Calls:
    """What a function returns and leaves behind at each call, on the CPU and recorded."""

    def __init__(self, make, inputs, device):
        self.plainly = self._run(make, inputs)
        with device as session:
            self.recorded = self._run(make, inputs, session)
            self.counts = self.step.counts

    def _run(self, make, inputs, session=None):
        torch.manual_seed(0)
        function = make()
        self.step = session.record(function) if session is not None else function
        seen, held = [], []
        for number in range(5):
            args = inputs(number)
            result = self.step(*args)
            held.append((result, copy.deepcopy(describe(result))))
            seen.append((describe(result), describe(args)))
        assert all(describe(result) == before for result, before in held), "an earlier result has changed"
        return seen


def describe(value):
    """Tensors as their metadata and values, all else as it is."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.stride(), value.detach().tolist()
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    return value


@pytest.fixture
def called(device):
    """Calls a function five times on both sides, and holds the outcomes to be equal; `replays` says how many replay.

    `make` makes the function, with its own state; `inputs(number)` makes the arguments of a call.
    """

    def call(make, inputs, replays=3):
        calls = Calls(make, inputs, device)
        assert calls.recorded == calls.plainly
        assert calls.counts.replays == replays, str(vars(calls.counts))
        return calls.counts

    return call


@pytest.fixture
def session():
    """An open block on the emulated device, without gradients."""
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as opened:
        yield opened
