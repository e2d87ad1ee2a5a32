"""What `fully_shard` copies parameters and gradients with, into and out of the memory that a process group sends."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand
from ..schema import overload

OF_THE_GROUP = "the process group sends and receives in memory of the host: only what is sent comes down"


def shards():
    yield Sample([rand(6, dtype=torch.float32), rand(4, dtype=torch.float32)], zeros(20), [6, 4], 10, 1)


def gathered():
    yield Sample(rand(2, 10, dtype=torch.float32), [6, 4], 1, out=[zeros(2, 6), zeros(2, 4)])


def gradients():
    yield Sample([rand(4, 6, dtype=torch.float32), rand(4, dtype=torch.float32)], 0, 2, out=zeros(2, 14))


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float32, device="cpu")


SAMPLES = {
    "all_gather_copy_in": shards,
    "split_with_sizes_copy": gathered,
    "chunk_cat": gradients,
    "chunk_cat_mixed_dtype": gradients,
    "copy_": lambda: [Sample(zeros(4, 6), rand(4, 6, dtype=torch.float32))],
}

for name, samples in SAMPLES.items():
    op = overload(f"fsdp.{name}.default")
    if op is not None:  # not every PyTorch has each of them
        cpu_only(op, because=OF_THE_GROUP, samples=samples)
