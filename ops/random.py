"""Random ops: on the host with torch's generator, so that a seed gives what it gives on CPU."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand

aten = torch.ops.aten

SEEDED = "drawn with torch's generator, so that a seed gives what it gives on CPU"


def like():
    yield Sample(rand(4, 5))


def probabilities():
    yield Sample(rand(4, 5, low=0.0, high=1.0))


def sizes():
    yield Sample([4, 5])


def counts():
    yield Sample(8)


def integers():
    yield Sample(10, [4, 5])


def picks():
    yield Sample(rand(4, 5, low=0.0, high=1.0), 2)


def dropped():
    yield Sample(rand(4, 5), 0.5, True)


cpu_only(aten.bernoulli.default, because=SEEDED, samples=probabilities)
cpu_only(aten.bernoulli.p, because=SEEDED, samples=lambda: [Sample(rand(4, 5), 0.5)])
cpu_only(aten.multinomial.default, because=SEEDED, samples=picks)
cpu_only(aten.native_dropout.default, because=SEEDED, samples=dropped)
cpu_only(
    aten.normal_.default,
    aten.uniform.default,
    aten.exponential.default,
    aten.rand_like.default,
    aten.randn_like.default,
    because=SEEDED,
    samples=like,
)
cpu_only(aten.rand.default, aten.randn.default, because=SEEDED, samples=sizes)
cpu_only(aten.rand.generator, aten.randn.generator, because=SEEDED, samples=lambda: [Sample([4, 5], generator=None)])
cpu_only(aten.randperm.default, because=SEEDED, samples=counts)
cpu_only(aten.randint.default, because=SEEDED, samples=integers)
cpu_only(aten.randint.low, because=SEEDED, samples=lambda: [Sample(2, 10, [4, 5])])
cpu_only(aten.randint_like.default, because=SEEDED, samples=lambda: [Sample(rand(4, 5), 10)])
