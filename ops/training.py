"""What only training calls and ttnn has no op for: the host computes it from downloaded activations."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, ints, rand

aten = torch.ops.aten

SEVERAL_GRADIENTS = "ttnn has no op that gives the gradients of input, weight and bias"
SCATTERS = "each gradient goes to the row that an index names, and one row may get several"


def layer_norm_gradients():
    x = rand(4, 6)
    _, mean, rstd = torch.native_layer_norm(x, [6], None, None, 1e-5)
    yield Sample(rand(4, 6), x, [6], mean, rstd, rand(6), rand(6), [True] * 3)


cpu_only(aten.native_layer_norm_backward.default, because=SEVERAL_GRADIENTS, samples=layer_norm_gradients)
cpu_only(
    aten.embedding_dense_backward.default,
    because=SCATTERS,
    samples=lambda: [Sample(rand(3, 4), ints(3, high=5), 5, -1, False)],
)
