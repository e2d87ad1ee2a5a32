"""The gradient of an embedding: each row gets the gradients of the places that looked it up."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, Check, Is
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Ignoring
from .scatter_reduction import matrix, sums
from .vocabulary import as_shape, cast, cut, folded

aten = torch.ops.aten


def samples():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), torch.tensor([0, 3, 9, 5, 8]), 10, -1, False)
        yield Sample(rand(3, 40, dtype=dtype), ints(3, high=1), 1, -1, False)
    yield Sample(rand(2, 3, 7), ints(2, 3), 10, 3, False)
    yield Sample(rand(40, 33), ints(40, high=4), 5, 0, False)
    yield Sample(rand(9, 33), ints(9, high=70), 70, 0, False)
    yield Sample(
        torch.tensor([[torch.inf, torch.nan], [1.0, 2.0], [-torch.inf, 1.0]]), torch.tensor([1, 2, 1]), 4, 2, False
    )
    yield Sample(rand(64), ints(), 10, -1, False)
    yield Sample(rand(5, 7).double(), ints(5), 10, -1, False)
    yield Sample(rand(5, 7), ints(5, dtype=torch.int32), 10, -1, False)
    yield Sample(rand(5, 7), ints(5), 10, -1, True)
    yield Sample(rand(4, 7), ints(5), 10, -1, False)


def other_places(call):
    grad, indices = call["grad_output"], call["indices"]
    return None if grad.shape[:-1] == indices.shape else f"{grad} for {indices}"


@lower(
    aten.embedding_dense_backward.default,
    samples=samples,
    takes={
        "grad_output": FLOATS,
        "indices": Ignoring(
            (torch.int64,), below=lambda call: (call["num_weights"], call["padding_idx"]), row_major=True
        ),
    },
    when=[
        Check("a row of the gradient for each index", other_places, because="PyTorch takes no others"),
        Is("scale_grad_by_freq", False, because="the device does not count how often an index comes"),
    ],
)
def embedding_dense_backward(tt, grad_output, indices, num_weights, padding_idx):
    rows = folded(tt, grad_output, 2)
    count, width = rows.shape
    # Places that are ignored go to one row more, which is cut off.
    size = num_weights + (padding_idx >= 0)
    given = matrix(tt, tt.permute(rows, [1, 0]), width, count)
    total = sums(tt, as_shape(tt, indices, [1, count]), given, size)
    return cast(tt, tt.permute(cut(tt, total, 1, 0, num_weights), [1, 0]), grad_output.dtype)
