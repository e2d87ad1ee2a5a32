"""What PyTorch leaves open in the values of a right result, made the same in two of them before they are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from ttreg.registry import Entry

# Their kernels round a running sum to bfloat16 after each element: what float32's give, rounded once, is right as well.
ROUNDED_SUMS = ("nll_loss2d_forward",)


def name_of(entry: Entry) -> str:
    """`aten.sort.stable` as `sort`."""
    return str(entry.op._schema.name.partition("::")[2])


def settled(entry: Entry, arguments: dict[str, Any], values: list[torch.Tensor]) -> list[torch.Tensor]:
    """The values of the outputs, whichever of equal elements comes first, and in order if none was asked for."""
    name = name_of(entry)
    if not (name == "topk" or (name == "sort" and not arguments.get("stable"))):
        return values
    of, dim, (found, places) = arguments["self"], int(arguments["dim"]), values
    size = of.shape[dim] if of.ndim else 1
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < size:
        return values
    picked, places = of.gather(dim, places), places.sort(dim).values
    if name == "sort":
        return [found, picked, places]
    if not arguments["sorted"]:
        found, picked = found.sort(dim).values, picked.sort(dim).values
    # Of the places no more is settled than that none is taken twice.
    count = places.shape[dim] if places.ndim else 1
    twice = count > 1 and bool((places.narrow(dim, 1, count - 1) == places.narrow(dim, 0, count - 1)).any())
    return [found, picked, torch.tensor(twice)]


def in_float32(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with their bfloat16 tensors in float32."""
    widened = tree_map_only(torch.Tensor, lambda t: t.float() if t.dtype is torch.bfloat16 else t, arguments)
    return dict(widened)
