"""What only training calls and ttnn has no op for: the host computes it from downloaded activations."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, ints, rand

aten = torch.ops.aten

SCATTERS = "each gradient goes to the row that an index names, and one row may get several"


cpu_only(
    aten.embedding_dense_backward.default,
    because=SCATTERS,
    samples=lambda: [Sample(rand(3, 4), ints(3, high=5), 5, -1, False)],
)
