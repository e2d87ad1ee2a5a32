"""Asks PyTorch's shape functions for the metadata of a call's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from ..fallback import decompose
from ..memory.tensor import metadata_of
from ..meta import Meta, meta_of
from ..pytorch_private import IS_2_14, OpOverload, tree_map_only
from ..schema import functional_form, is_in_place, written_arguments


def _grouped_mm(self: torch.Tensor, mat2: torch.Tensor, **rest: Any) -> torch.Tensor:
    """The shape function of PyTorch 2.14 takes bfloat16 alone, though its kernel takes more."""
    narrow = (torch.empty_strided(x.shape, x.stride(), dtype=torch.bfloat16, device="meta") for x in (self, mat2))
    return torch.ops.aten._grouped_mm.default(*narrow, **rest).to(self.dtype)


_INSTEAD: dict[OpOverload, Callable[..., Any]] = {torch.ops.aten._grouped_mm.default: _grouped_mm} if IS_2_14 else {}


class Outputs(NamedTuple):
    """The metadata of a call's outputs; None if the call is wrong, or changes the geometry of what it writes to."""

    metas: list[Meta] | None
    is_list: bool = False
    absent: tuple[int, ...] = ()  # where the list has None, as for a gradient that is not wanted


def outputs_on_meta(op: OpOverload, arguments: Mapping[str, Any]) -> Outputs:
    """The outputs that the op has on CPU."""
    if not op._schema.returns:  # it only writes to lists of tensors
        return Outputs([])
    on_meta = tree_map_only(torch.Tensor, lambda tensor: metadata_of(tensor).on_meta(), dict(arguments))
    on_meta = tree_map_only(torch.device, lambda _: torch.device("meta"), on_meta)
    plain = not on_meta.get("pin_memory") and on_meta.get("layout") in (None, torch.strided)
    if plain and "device" in on_meta and on_meta["device"] is None:
        on_meta["device"] = torch.device("meta")  # an op that makes a tensor of sizes alone would make it here
    written = [on_meta[name] for name in written_arguments(op) if isinstance(on_meta[name], torch.Tensor)]
    before = {id(tensor): meta_of(tensor) for tensor in written}
    is_out = functional_form(op) is not None and not is_in_place(op)
    try:
        if is_out:
            for tensor in written:  # PyTorch resizes an empty `out` tensor without a warning
                tensor.resize_(0)
        result = (decompose.ours(op) or _INSTEAD.get(op) or op)(**on_meta)
    except Exception:  # the host runs the call and raises PyTorch's own error
        return Outputs(None)
    for tensor in written:
        if tensor.shape != before[id(tensor)].shape or (not is_out and meta_of(tensor) != before[id(tensor)]):
            return Outputs(None)
    is_list = isinstance(result, (list, tuple))
    results = result if is_list else [result]
    absent = tuple(place for place, tensor in enumerate(results) if tensor is None)
    return Outputs([before.get(id(t)) or meta_of(t) for t in results if t is not None], is_list, absent)
