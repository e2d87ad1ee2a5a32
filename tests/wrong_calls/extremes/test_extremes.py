"""Entries given extreme values and shapes give what the CPU gives; `make extremes` tries all of them."""

from __future__ import annotations

import dataclasses
import random
from fnmatch import fnmatchcase

import torch

from ttreg.registry import registry
from ttreg.samples import Sample, rand

from ..left_open import name_of
from .changes import FLOATS, INTEGERS, SHAPES
from .exceptions import KNOWN
from .sweep import ENTRIES, HUGE, sweep

aten = torch.ops.aten


def test_some_entries_are_as_on_cpu():
    found = sweep(random.Random(0).sample(ENTRIES, 24), samples=1, share=0.2)
    assert found.wrong == []
    assert found.tried.total() > 20


def test_every_kind_is_tried():
    found = sweep([registry.find(aten.gather.default)], samples=1)
    assert set(found.tried) == {*FLOATS, *INTEGERS, *SHAPES, HUGE}
    assert found.wrong == []


def test_a_lowering_that_loses_nan_is_found(replaced):
    replaced(aten.relu.default, lambda tt, self: tt.relu(tt.where(tt.eq(self, self), self, 0.0)))
    entry = dataclasses.replace(registry.find(aten.relu.default), samples_of=lambda: [Sample(rand(5, 7))])
    [wrong] = sweep([entry], samples=1).wrong
    assert wrong.startswith("aten.relu.default, self: NaN: values off by inf")


def test_what_is_known_to_differ_is_of_entries():
    names = {name_of(entry) for entry in ENTRIES}
    assert [one.ops for one in KNOWN if not any(fnmatchcase(name, one.ops) for name in names)] == []
