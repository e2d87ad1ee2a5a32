"""The ranges that a profiler of PyTorch's shows: where each call ran."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.profiler import profile

import ttreg

X = torch.arange(12.0).reshape(3, 4) / 4


def ranges_of(profiled):
    return Counter({event.key: event.count for event in profiled.key_averages() if event.key.startswith("ttreg::")})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("trace", [None, "t.json"])
def test_each_call_has_a_range(tmp_path, trace):
    path = trace and tmp_path / trace
    with ttreg.device_mode(device="emulated", min_upload_numel=0, trace=path) as session:
        torch.relu(session.to_device(X))
        with profile() as profiled:  # begun inside of the block
            torch.special.bessel_j0(torch.relu(session.to_device(X)).t())
            torch.ops.aten.rot90.default(session.to_device(X))
    found = ranges_of(profiled)
    assert found["ttreg::device aten.relu.default"] == 1
    assert found["ttreg::view aten.t.default"] == 1
    assert found["ttreg::host aten.special_bessel_j0.default"] == 1
    assert found["ttreg::decomposed aten.rot90.default"] == 1
    assert found["ttreg::device aten.flip.default"] == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_may_be_begun_outside_of_the_block(device):
    with profile() as profiled, device:
        torch.relu(X)
    assert ranges_of(profiled) == {"ttreg::device aten.relu.default": 1}
