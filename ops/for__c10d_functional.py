"""Functional collectives, for programs on several devices. A process group of the host carries them."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand
from ..schema import overload

BY_THE_HOST = "the host sends and receives: what is sent comes down, and what is received goes up where it is needed"
GROUP = "0"  # the name of a process group


def of(*arguments):
    """Samples of one tensor, and of what else the op takes."""
    return lambda: [Sample(rand(4, 6, dtype=torch.float32), *arguments)]


def of_several(*arguments):
    """Samples of a list of tensors, and of what else the op takes."""
    return lambda: [Sample([rand(4, 6, dtype=torch.float32), rand(3, dtype=torch.float32)], *arguments)]


def into(*arguments):
    """Samples of one tensor, what else the op takes, and a tensor to receive in."""
    return lambda: [
        Sample(rand(4, 6, dtype=torch.float32), *arguments, out=torch.zeros(4, 6, dtype=torch.float32, device="cpu"))
    ]


SAMPLES = {
    "all_reduce": of("sum", GROUP),
    "all_reduce_coalesced": of_several("sum", GROUP),
    "all_reduce_coalesced_": of_several("sum", GROUP),
    "all_gather_into_tensor": of(1, GROUP),
    "all_gather_into_tensor_coalesced": of_several(1, GROUP),
    "all_gather_into_tensor_out": into(1, GROUP),
    "reduce_scatter_tensor": of("sum", 1, GROUP),
    "reduce_scatter_tensor_coalesced": of_several("sum", 1, GROUP),
    "reduce_scatter_tensor_out": into("sum", 1, GROUP),
    "all_to_all_single": of([4], [4], GROUP),
    "broadcast": of(0, GROUP),
    "isend": of(1, 0, GROUP),
    "irecv": of(1, 0, GROUP),
    "wait_tensor": of(),
    "wait_tensors": of_several(),
    "_wrap_tensor_autograd": of(),
}

for name, samples in SAMPLES.items():
    op = overload(f"_c10d_functional.{name}.default")
    if op is not None:  # not every PyTorch has each of them
        cpu_only(op, because=BY_THE_HOST, samples=samples)
