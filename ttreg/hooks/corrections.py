"""Functions whose C++ code goes wrong under a mode before any aten call shows it, and what is run in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from ..runtime.tensor import DeviceTensor


def _with_read_indices(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """Where to split is read from memory: what follows the tensor to split has to have some."""
    tail, kwargs = tree_map_only(DeviceTensor, DeviceTensor.host, (args[1:], kwargs))
    return function(*args[:1], *tail, **kwargs)


def _with_written_rank(function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """`out` is left as it was under any mode: write to it as PyTorch does without one."""
    out = kwargs.pop("out", None)
    rank = function(*args, **kwargs)
    return rank if out is None else torch.sum(rank.unsqueeze(-1), -1, out=out)


CORRECTIONS: dict[Any, Callable[[Callable[..., Any], tuple, dict[str, Any]], Any]] = {
    torch.tensor_split: _with_read_indices,
    torch.Tensor.tensor_split: _with_read_indices,
    torch.linalg.matrix_rank: _with_written_rank,
}
