"""Calls with one argument changed, most of them wrong, give on the device what they give on CPU, or the same error."""

from __future__ import annotations

import os
import random
import warnings
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

import ttreg
from ttreg.call import bind_arguments
from ttreg.registry import Entry, registry
from ttreg.samples import Sample
from ttreg.schema import is_elementwise
from ttreg.verification.trial import decision

from .calls import MOST_ELEMENTS, difference, difference_in_writes
from .excluded import reason_to_exclude
from .variations import variations
from .writing import forms, writes

ENTRIES = [entry for entry in registry if entry.kind == "device"]
EVERY_CALL = bool(os.environ.get("EVERY_WRONG_CALL"))

# Of each entry `make test` takes a seeded share of the changes of one accepted sample, all of which would take long.
SHARE_OF_MAKE_TEST = 0.2
SHARE_OF_WRITES = 0.2

# Of the others, some of PyTorch's kernels write beyond an `out` that they did not look at.
WRITING = [entry for entry in ENTRIES if is_elementwise(entry.op) and any(forms(entry.op))]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.family}-{entry.op}")
def test_it_is_refused_or_computed_as_on_cpu(entry, record_property):
    tried, found = differences(entry)
    record_property("wrong calls", tried)
    assert not found, f"{len(found)} of {tried} calls differ:\n" + "\n".join(found)


@pytest.mark.parametrize("entry", WRITING, ids=lambda entry: f"{entry.family}-{entry.op}")
def test_it_writes_as_on_cpu(entry, record_property):
    """In place and to `out`: also what is left in a tensor that could not be written to."""
    tried, found, chance = 0, [], random.Random(str(entry.op))
    with _device() as session, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = [s for s in entry.samples() if not (_is_large(s) or decision(session, entry, s) is not None)]
        if not EVERY_CALL:
            samples = chance.sample(samples, min(1, len(samples)))
        for sample in samples:
            arguments = bind_arguments(entry.op, sample.args, sample.kwargs)
            for form in forms(entry.op):
                with _disable_current_modes():
                    changed = list(writes(entry, form, arguments))
                for variation in changed:
                    if not EVERY_CALL and chance.random() >= SHARE_OF_WRITES:
                        continue
                    differing = difference_in_writes(session, entry, form, variation.arguments)
                    tried += differing is not None
                    if differing:
                        found.append(f"{form}, {variation}: {differing}")
    record_property("wrong calls", tried)
    assert not found, f"{len(found)} of {tried} calls differ:\n" + "\n".join(found)


def _device() -> Any:
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def differences(entry: Entry) -> tuple[int, list[str]]:
    """How many calls were tried, and in what some of them differ from the CPU's."""
    tried, found, chance = 0, [], random.Random(str(entry.op))
    samples = list(enumerate(entry.samples()))
    if not EVERY_CALL:
        chance.shuffle(samples)
    with _device() as session, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, sample in samples:
            if _is_large(sample) or decision(session, entry, sample) is not None:
                continue
            for variation in variations(entry.op, sample.args, sample.kwargs):
                if not EVERY_CALL and chance.random() >= SHARE_OF_MAKE_TEST:
                    continue
                if reason_to_exclude(entry.op, variation):
                    continue
                differing = difference(session, entry, variation.arguments)
                tried += differing is not None
                if differing:
                    found.append(f"sample {number}, {variation}: {differing}")
            if not EVERY_CALL:
                break
    return tried, found


def _is_large(sample: Sample) -> bool:
    leaves = tree_leaves((sample.args, sample.kwargs))
    return any(isinstance(leaf, torch.Tensor) and leaf.numel() > MOST_ELEMENTS for leaf in leaves)
