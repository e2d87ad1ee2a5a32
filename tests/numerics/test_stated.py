"""What a chip makes of NaN, infinities and denormals in float32, the entries say: as measured, and as predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch.utils._pytree import tree_map_only

import ttreg
from ttreg.measured import packaged
from ttreg.registry import Entry, registry
from ttreg.samples import Sample
from ttreg.verification.sweep import sweeps
from ttreg.verification.trial import decision, trial

SETTINGS = {"device": "emulated", "numerics": "chip", "min_upload_numel": 0}
ENTRIES = {str(entry.op): entry for entry in registry.matching((), "device")}
FAMILIES = sorted({entry.family for entry in ENTRIES.values()})
LEAST_NORMAL = 2.0**-126
FEW = 24  # numbers of a sample
NEGATIVE_NAN = torch.tensor([-0x400000], dtype=torch.int32).view(torch.float32)

# Places are not counted among numbers that are not in order; the other tensor tells what the first one was.
OF_NO_NAN = ("searchsorted", "bucketize", "log_sigmoid_backward")


def states(entry: Entry, inputs: Sequence[float]) -> bool:
    """Whether the entry says what it makes of such inputs: of any of those that are not normal numbers."""
    kinds = [
        ("NaN", math.isnan),
        ("inf", math.isinf),
        ("1.2e-38", lambda value: 0 < abs(value) < LEAST_NORMAL),
    ]
    said = [word in entry.chip for word, is_one in kinds if any(map(is_one, inputs))]
    return any(said) if said else bool(entry.chip)


MEASURED = [
    (op, special)
    for (op, dtype), figures in packaged().figures.items()
    if dtype == "float32" and (sweep := figures.of_sweep()) is not None
    for special in sweep.special
]


def test_the_measured_special_values_that_differ_are_stated():
    assert len({op for op, _ in MEASURED}) > 20
    assert [
        f"{op}: {special}" for op, special in MEASURED if not states(ENTRIES[op], list(map(float, special.inputs)))
    ] == []


def of_family(family: str) -> Iterator[Entry]:
    return (entry for entry in ENTRIES.values() if entry.family == family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_predicted_special_values_that_differ_are_stated(family):
    unstated = []
    for entry in of_family(family):
        for inputs in sweeps(entry, torch.float32):
            with ttreg.device_mode(**SETTINGS) as session:
                result = trial(session, entry, inputs.sample)
            apart = ~torch.isclose(
                *(each[0].values.double() for each in (result.outputs, result.expected)), equal_nan=True
            )
            for place in apart[: inputs.special].nonzero().flatten().tolist():
                values = [float(tensor[place]) for tensor in inputs.tensors]
                if not states(entry, values):
                    unstated.append((str(entry.op), values))
    assert unstated == []


def with_nan(sample: Sample, nan: torch.Tensor) -> Iterator[Sample]:
    """The sample with a NaN in one of its float32 tensors, and in another, and so on."""
    for chosen in range(8):
        seen = iter(range(99))

        def changed(tensor: torch.Tensor, seen: Iterator[int] = seen, chosen: int = chosen) -> torch.Tensor:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
            if tensor.dtype is torch.float32 and tensor.numel() and next(seen) == chosen:
                tensor.view(-1)[2 % tensor.numel()] = nan[0]
            return tensor

        yield Sample(
            *tree_map_only(torch.Tensor, changed, sample.args), **tree_map_only(torch.Tensor, changed, sample.kwargs)
        )
        if next(seen) <= chosen:
            return


def loses_nan(entry: Entry, sample: Sample) -> bool:
    with ttreg.device_mode(**SETTINGS) as session:
        result = trial(session, entry, sample)
    pairs = [(a.values, b.values) for a, b in zip(result.outputs, result.expected, strict=True)]
    return any(bool((b.isnan() & ~a.isnan()).any()) for a, b in pairs if b.dtype is torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_entries_that_lose_a_nan_say_so(family):
    with ttreg.device_mode(**SETTINGS) as session:
        pass
    silent = []
    for entry in of_family(family):
        if "NaN" in entry.chip or any(name in str(entry.op) for name in OF_NO_NAN):
            continue
        tried = 0
        for sample in entry.samples():
            tensors = [value for value in (*sample.args, *sample.kwargs.values()) if isinstance(value, torch.Tensor)]
            if (
                not any(tensor.dtype is torch.float32 for tensor in tensors)
                or decision(session, entry, sample) is not None
            ):
                continue
            if not tried or sum(tensor.numel() for tensor in tensors) <= FEW:
                tried += 1
                nans = (torch.tensor([math.nan]), NEGATIVE_NAN)
                silent += [str(entry.op) for nan in nans for each in with_nan(sample, nan) if loses_nan(entry, each)]
    assert silent == []
