"""Where and in which form a new tensor is made: what ops of `layout`, `device` and `pin_memory` have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ...conditions import FLOATS, OneOf
from ...samples import Sample

CPU = torch.device("cpu")

# An ordinary tensor, as the program sees it.
PLACED = (
    OneOf("layout", (None, torch.strided)),
    OneOf("device", (None, CPU)),
    OneOf("pin_memory", (None, False)),
)

# The same of an op that makes floats from no tensor.
MADE = (
    OneOf("dtype", FLOATS, because="others, and what the default makes of None, are uploaded when they are needed"),
    *PLACED,
)


def placed_elsewhere(*arguments: Any, **keywords: Any) -> Iterator[Sample]:
    """Samples for each condition of `PLACED` to refuse."""
    yield Sample(*arguments, **keywords, device=torch.device("meta"))
    yield Sample(*arguments, **keywords, layout=torch.sparse_coo)
    yield Sample(*arguments, **keywords, pin_memory=True)
