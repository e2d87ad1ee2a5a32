"""Calls that PyTorch refuses get from the device the exception and the text that they get on CPU."""

from __future__ import annotations

import pytest
import torch

import ttreg

from .cases import cases
from .outcome import difference, host_copy, outcome
from .test_values import on_device

REFUSING = cases(wanted=lambda info: info.error_inputs_func is not None, dtypes=(torch.float32,))


@pytest.mark.parametrize("case", REFUSING)
def test_same_error(case):
    found = []
    for number, call in enumerate(case.errors()):
        expected = outcome(call, host_copy, read=lambda tensor: tensor)
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            given = [outcome(call, copy, session.read, expected) for copy in (host_copy, on_device(session))]
        found += [f"error input {number}: {d}" for one in given if (d := difference(one, expected))]
    assert not found, "\n".join(found)
