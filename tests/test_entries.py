"""What holds for every entry, derived from the registry."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

import ttreg
from ttreg.call import Call
from ttreg.checking.compare import close, largest_difference
from ttreg.conditions import Never
from ttreg.meta import meta_of
from ttreg.registry import Entry, registry
from ttreg.samples import Sample
from ttreg.verification.trial import decision, trial

ENTRIES = list(registry)
MOST_NARROWED = 8  # samples of an entry; `ttreg verify --precision bfloat16` takes them all
LOWERED = [entry for entry in ENTRIES if entry.kind == "device"]


def names(entry: Entry) -> str:
    return f"{entry.family}-{entry.op}"


@pytest.fixture(scope="module")
def session():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        pass
    return session


@pytest.mark.parametrize("entry", LOWERED, ids=names)
def test_accepted_samples_equal_cpu(entry):
    accepted = 0
    for number, sample in enumerate(entry.samples()):
        with ttreg.device_mode(device="emulated", min_upload_numel=0, on_fallback="raise") as session:
            result = trial(session, entry, sample)
        if result.refusal is not None:
            continue
        accepted += 1
        totals = session.report().totals
        assert totals.host == 0, session.report().ops
        assert totals.device + totals.view >= 1
        assert len(result.outputs) == len(result.expected)
        for output, expected in zip(result.outputs, result.expected, strict=True):
            assert output.meta is expected.meta, f"sample {number}"
            difference = largest_difference(output.values, expected.values)
            assert close(output.values, expected.values), f"sample {number} differs by {difference}"
    assert accepted, "no sample is accepted"


def has_float32(sample: Sample) -> bool:
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float32 for leaf in tree_leaves(sample.args)) or (
        sample.kwargs.get("dtype") is torch.float32
    )


@pytest.mark.parametrize("entry", LOWERED, ids=names)
def test_samples_of_float32_equal_cpu_when_they_are_carried_in_bfloat16(entry, session):
    samples = [sample for sample in entry.samples() if has_float32(sample)]
    accepted = [sample for sample in samples if decision(session, entry, sample) is None]
    for sample in accepted[:: len(accepted) // MOST_NARROWED + 1]:
        mode = ttreg.device_mode(device="emulated", precision="bfloat16", min_upload_numel=0, on_fallback="raise")
        with mode as narrow:
            result = trial(narrow, entry, sample)
        assert result.refusal is None, "what is accepted does not depend on what carries it"
        assert not result.wrong(), f"{sample.args} {sample.kwargs}: {result.wrong()}"


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_every_condition_refuses_a_sample(entry, session):
    refusals = [decision(session, entry, sample) for sample in entry.samples()]
    refusing = {refusal.condition for refusal in refusals if refusal is not None}
    assert refusals, "there is no sample"
    for condition in entry.conditions:
        assert str(condition) in refusing, f"no sample is refused by {condition}"
    if not any(isinstance(condition, Never) for condition in entry.conditions):
        assert None in refusals, "no sample is accepted"


@pytest.mark.parametrize("entry", LOWERED, ids=names)
def test_decisions_read_no_values(entry):
    for sample in entry.samples():
        on_meta = tree_map_only(torch.Tensor, lambda t: meta_of(t).on_meta(), (sample.args, sample.kwargs))
        real = entry.refuse(Call.bind(entry.op, sample.args, sample.kwargs))
        assert entry.refuse(Call.bind(entry.op, *on_meta)) == real
