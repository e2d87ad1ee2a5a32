"""Ops that only move data change no bit of it."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_map_only

import ttreg
from ttreg.carriers import narrowed
from ttreg.registry import registry
from ttreg.samples import Sample
from ttreg.verification.trial import trial

MOVES = ("views", "slicing", "windows", "data_movement", "parts_replaced", "pad", "embedding")
ADD = ("aten.col2im.default", "aten.unfold_backward.default")  # what windows that overlap hold of one place
MOVED = [entry for entry in registry if entry.family in MOVES and str(entry.op) not in ADD]
ENTRIES = [entry for entry in MOVED if entry.kind == "device"]


def with_all_bits(tensor: torch.Tensor) -> torch.Tensor:
    """A float32 tensor's shape with values that no narrower dtype holds; any other tensor as it is."""
    if tensor.dtype is not torch.float32 or not tensor.isfinite().all():
        return tensor
    values = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(20)) * 1e3
    values.view(-1)[::5] = -0.0
    values.view(-1)[3::7] = torch.finfo(torch.float32).min  # as masks have it
    return values


def carried(values: torch.Tensor, precision: str) -> torch.Tensor:
    """The values as the device carries them: a number beside a tensor is rounded too."""
    return narrowed(values, torch.bfloat16) if (precision, values.dtype) == ("bfloat16", torch.float32) else values


@pytest.mark.parametrize("precision", ["preserve", "bfloat16"])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.family}-{entry.op}")
def test_no_bit_changes(entry, precision):
    for number, sample in enumerate(entry.samples()):
        sample = Sample(*tree_map_only(torch.Tensor, with_all_bits, sample.args), **sample.kwargs)
        with ttreg.device_mode(device="emulated", precision=precision, min_upload_numel=0) as session:
            result = trial(session, entry, sample)
        for output, expected in zip(result.outputs, result.expected, strict=True):
            given, wanted = (carried(values, precision).nan_to_num(7.7) for values in (output.values, expected.values))
            same = torch.equal(given, wanted) and torch.equal(given.signbit(), wanted.signbit())
            assert same, f"sample {number}"
