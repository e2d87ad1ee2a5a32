"""Extreme values and shapes for the tensors of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map_only

from ttreg.call import bind_arguments

from ..excluded import reason_to_exclude
from ..variations import Variation

# Where they are put: far apart, so that there are rows and windows without one.
FIRST, STEP = 2, 7

FLOATS: dict[str, list[float]] = {
    "NaN": [float("nan")],
    "inf": [float("inf")],
    "-inf": [-float("inf")],
    "both infinities": [float("inf"), -float("inf")],
    "-0.0": [-0.0],
    "denormals": [1e-40, -1e-40],
}
INTEGERS = {"the largest integer": "max", "the least integer": "min"}
SHAPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "no elements": lambda t: t[:0].clone() if t.ndim else t.clone(),
    "0-d": lambda t: t.flatten()[0].clone(),
    "8-d": lambda t: t.reshape([1] * (8 - t.ndim) + list(t.shape)).clone(),
    "8-d, at the end": lambda t: t.reshape(list(t.shape) + [1] * (8 - t.ndim)).clone(),
}
ALL = "all tensors"


def changed(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Iterator[Variation]:
    """The call with extreme values in one argument at a time, and with an extreme shape of all its tensors."""
    bound = bind_arguments(op, args, kwargs)
    for name, argument in bound.items():
        leaves = [leaf for leaf in tree_leaves(argument) if isinstance(leaf, torch.Tensor) and leaf.numel()]
        if any(leaf.is_floating_point() for leaf in leaves):
            for kind, values in FLOATS.items():
                yield Variation(name, kind, {**bound, name: tree_map_only(torch.Tensor, _among(values), argument)})
        if any(_is_integer(leaf) for leaf in leaves):
            for kind, limit in INTEGERS.items():
                yield Variation(name, kind, {**bound, name: tree_map_only(torch.Tensor, _with(limit), argument)})
    for kind, change in SHAPES.items():
        try:
            yield Variation(ALL, kind, tree_map_only(torch.Tensor, change, bound))
        except (RuntimeError, IndexError):  # a tensor of another rank, or without elements
            continue


def compared(op: OpOverload, variation: Variation) -> bool:
    """Whether PyTorch says what comes of the call: the list of wrong calls knows ops whose kernels look at nothing."""
    bound = variation.arguments
    names = [name for name in bound if tree_leaves(bound[name])] if variation.name == ALL else [variation.name]
    proxy = "a dimension more" if variation.name == ALL else "of 100"
    return not any(reason_to_exclude(op, Variation(name, proxy, bound)) for name in names)


def _is_integer(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)


def _among(values: list[float]) -> Callable[[torch.Tensor], torch.Tensor]:
    def put(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or not tensor.numel():
            return tensor
        flat = tensor.clone(memory_format=torch.contiguous_format).flatten()
        for at, value in enumerate(values):
            flat[(FIRST + at * STEP // 2) % len(flat) :: STEP] = value
        return flat.view(tensor.shape)

    return put


def _with(limit: str) -> Callable[[torch.Tensor], torch.Tensor]:
    def put(tensor: torch.Tensor) -> torch.Tensor:
        if not _is_integer(tensor) or not tensor.numel():
            return tensor
        flat = tensor.clone(memory_format=torch.contiguous_format).flatten()
        flat[FIRST % len(flat) :: STEP] = getattr(torch.iinfo(tensor.dtype), limit)
        return flat.view(tensor.shape)

    return put
