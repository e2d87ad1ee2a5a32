"""Calls with one argument changed, most of them wrong, give on the device what they give on CPU, or the same error."""

from __future__ import annotations

import os
import random
import warnings

import pytest
import torch

import ttreg
from ttreg.checking.trial import decision
from ttreg.registry import Entry, registry

from .calls import difference
from .excluded import reason_to_exclude
from .variations import variations

SHARE_OF_MAKE_TEST = 0.01
ENTRIES = [entry for entry in registry if entry.kind == "device"]
EVERY_CALL = bool(os.environ.get("EVERY_WRONG_CALL"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.family}-{entry.op}")
def test_it_is_refused_or_computed_as_on_cpu(entry, record_property):
    share = 1.0 if EVERY_CALL else SHARE_OF_MAKE_TEST
    tried, found = differences(entry, share)
    record_property("wrong calls", tried)
    assert not found, f"{len(found)} of {tried} calls differ:\n" + "\n".join(found)


def differences(entry: Entry, share: float) -> tuple[int, list[str]]:
    """How many calls were tried, a seeded share of all, and in what some of them differ from the CPU's."""
    tried, found, chance = 0, [], random.Random(str(entry.op))
    device = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with device as session, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, sample in enumerate(entry.samples()):
            if decision(session, entry, sample) is not None:
                continue
            for variation in variations(entry.op, sample.args, sample.kwargs):
                if chance.random() >= share or reason_to_exclude(entry.op, variation):
                    continue
                differing = difference(session, entry, variation.arguments)
                tried += differing is not None
                if differing:
                    found.append(f"sample {number}, {variation}: {differing}")
    return tried, found
