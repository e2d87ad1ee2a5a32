"""Every op of PyTorch's own operator tests gives on the device what it gives on CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

import ttreg

from .cases import cases
from .outcome import difference, host_copy, outcome

ON_DEVICE = (torch.float32, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.bool)


@pytest.mark.parametrize("case", cases())
def test_as_on_cpu(case, record_property):
    found, samples, wholly = [], 0, 0
    for number, calls in enumerate(case.samples()):
        expected = [outcome(call, host_copy, read=lambda tensor: tensor) for call in calls]
        given = []
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            places = {"on the host": host_copy}
            if case.dtype in ON_DEVICE:
                places["on the device"] = on_device(session)
            before = session.report().totals
            for call, wanted in zip(calls, expected, strict=True):
                for place, copy in places.items():
                    own = []
                    made = outcome(counted(call, session, own), copy, session.read, wanted)
                    totals = session.report().totals
                    given.append((call, place, made, wanted, totals.device > before.device))
                    if (call.form, place) == ("function", "on the host") and not made.error:
                        samples, wholly = samples + 1, wholly + (own[0].host == before.host)
                    before = totals
        for call, place, made, wanted, on_the_device in given:
            computed_in = case.computed_in(on_the_device)
            differs = difference(made, wanted, computed_in, case.elementwise, case.any_order)
            if differs:
                found.append(f"sample {number}, {call.form}, inputs {place}: {differs}")
    record_property("samples", samples)
    record_property("wholly on the device", wholly)
    assert not found, "\n".join(found)


def counted(call, session, own):
    """The call, which appends the session's totals to `own`: what a test then writes to the results is not the op's."""

    def function(*args, **kwargs):
        results = call.function(*args, **kwargs)
        own.append(session.report().totals)
        return results

    return replace(call, function=function)


def on_device(session):
    """Copies a tensor to the device, as a view of its whole storage where it does not cover that."""

    def copy(tensor):
        with _disable_current_modes():
            plain = host_copy(tensor)
            if not _fits_device(plain):
                return plain
            flat = torch.empty(0, dtype=plain.dtype).set_(plain.untyped_storage())
        return session.to_device(flat).as_strided(plain.shape, plain.stride(), plain.storage_offset())

    return copy


def _fits_device(tensor):
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or not tensor.numel():
        return False
    limits = torch.iinfo(torch.int32)
    if tensor.dtype is torch.int64:
        return bool(tensor.amin() >= limits.min and tensor.amax() <= limits.max)
    return tensor.dtype in ON_DEVICE
