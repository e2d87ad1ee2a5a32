"""Asks PyTorch's shape functions for the metadata of a call's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..fallback import decompose
from ..memory.tensor import metadata_of
from ..meta import Meta, meta_of
from ..pytorch_private import OpOverload, tree_map_only
from ..schema import functional_form, is_in_place, written_arguments


def outputs_on_meta(op: OpOverload, arguments: Mapping[str, Any]) -> tuple[list[Meta] | None, bool]:
    """The metadata of the outputs that the op has on CPU, and whether it returns several.

    None if the call is wrong, or changes the geometry of what it writes to.
    """
    on_meta = tree_map_only(torch.Tensor, lambda tensor: metadata_of(tensor).on_meta(), dict(arguments))
    on_meta = tree_map_only(torch.device, lambda _: torch.device("meta"), on_meta)
    written = [on_meta[name] for name in written_arguments(op) if isinstance(on_meta[name], torch.Tensor)]
    before = {id(tensor): meta_of(tensor) for tensor in written}
    is_out = functional_form(op) is not None and not is_in_place(op)
    try:
        if is_out:
            for tensor in written:  # PyTorch resizes an empty `out` tensor without a warning
                tensor.resize_(0)
        result = (decompose.ours(op) or op)(**on_meta)
    except Exception:  # the host runs the call and raises PyTorch's own error
        return None, False
    for tensor in written:
        if tensor.shape != before[id(tensor)].shape or (not is_out and meta_of(tensor) != before[id(tensor)]):
            return None, False
    returns_list = isinstance(result, (list, tuple))
    results = [t for t in (result if returns_list else [result]) if t is not None]  # None: a gradient not wanted
    return [before.get(id(t)) or meta_of(t) for t in results], returns_list
