"""Every op of PyTorch's own operator tests gives on the device what it gives on CPU."""

from __future__ import annotations

import pytest
import torch

import ttreg

from .cases import cases
from .outcome import difference, host_copy, outcome

ON_DEVICE = (torch.float32, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.bool)


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("case", cases())
def test_as_on_cpu(case, where, record_property):
    found, samples, wholly = [], 0, 0
    for number, calls in enumerate(case.samples()):
        for call in calls:
            expected = outcome(call, host_copy, read=lambda tensor: tensor)
            with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
                copy = on_device(session) if where == "device" else host_copy
                given = outcome(call, copy, session.read, expected)
                totals = session.report().totals
            computed_in = case.dtype if totals.device else None
            differs = difference(given, expected, computed_in, case.elementwise)
            if differs:
                found.append(f"sample {number}, {call.form}: {differs}")
            if call.form == "function" and not given.error:
                samples, wholly = samples + 1, wholly + (not totals.host)
    record_property("samples", samples)
    record_property("wholly", wholly)
    assert not found, "\n".join(found)


def on_device(session):
    """Copies a tensor to the device, as a view of its whole storage where it does not cover that."""

    def copy(tensor):
        plain = host_copy(tensor)
        if plain.dtype not in ON_DEVICE or plain.layout is not torch.strided or not plain.numel():
            return plain
        if plain.dtype is torch.int64 and (plain.amin() < -(2**31) or plain.amax() >= 2**31):
            return plain
        flat = torch.empty(0, dtype=plain.dtype).set_(plain.untyped_storage())
        return session.to_device(flat).as_strided(plain.shape, plain.stride(), plain.storage_offset())

    return copy
