"""Views: metadata only, until a lowering needs the view's data on the device; then the lowering here moves it."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, MOVABLE, Dtype
from ..registry import lower
from ..samples import Sample, rand

aten = torch.ops.aten


def view_samples():
    yield Sample(rand(4, 6), [2, -1])
    yield Sample(rand(4, 6, dtype=torch.float64), [24])


@lower(aten.view.default, samples=view_samples, when=[Dtype("self", MOVABLE)])
def view(tt, self, size):
    return tt.reshape(self, size)


def t_samples():
    yield Sample(rand(4, 6))
    yield Sample(rand(4, 6).double())


@lower(aten.t.default, samples=t_samples, when=[Dtype("self", MOVABLE)])
def t(tt, self):
    return self if len(self.shape) < 2 else tt.transpose(self, 0, 1)
