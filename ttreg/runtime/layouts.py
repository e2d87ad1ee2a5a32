"""Corrects the strides of elementwise results where PyTorch's shape functions differ from its CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..call import Call
from ..meta import CPU, Meta, intern, meta_of
from ..pytorch_private import tree_leaves, tree_map_only
from ..registry import Entry
from ..schema import is_elementwise

# For outputs with more elements than this, running the CPU kernel for its strides would take longer than the call.
MOST_ELEMENTS = 1 << 24


def as_on_cpu(entry: Entry, call: Call, outputs: list[Meta]) -> Sequence[Meta | None]:
    """The outputs with the strides of the CPU kernel, where PyTorch's shape function gives others.

    None stands for an output that the kernel does not return.
    """
    made = outputs if entry.outputs is None else entry.outputs(call, outputs)
    return _laid_out(call, [meta for meta in made if meta is not None]) if is_elementwise(call.op) else made


def _laid_out(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The outputs of an elementwise call, with the strides that its CPU kernel gives them.

    The kernel derives them from the order in which it visits the operands. PyTorch's shape functions differ from it for
    dimensions of one element and for expanded operands. So the kernel itself runs, unless the strides are certain.
    """
    operands = [meta for _, meta in call.tensors() if meta.ndim]
    if all(meta.is_default for meta in operands) or any(meta.numel > MOST_ELEMENTS for meta in outputs):
        return outputs
    doubtful = any(1 in meta.shape for meta in outputs) or any(0 in meta.stride for meta in operands)
    if not doubtful or _is_alike(operands, outputs):
        return outputs
    results = call.op(**tree_map_only(Meta, ones, call.arguments))
    return [meta_of(result).like(meta.dtype) for result, meta in zip(tree_leaves(results), outputs, strict=True)]


def _is_alike(operands: list[Meta], outputs: list[Meta]) -> bool:
    """Whether all have the same strides, without gaps, and the dimensions of one element come first in each order: as
    channels-last images in a batch of one have."""
    first = operands[0]
    if any((meta.shape, meta.stride) != (first.shape, first.stride) for meta in (*operands, *outputs)):
        return False
    leading = [stride for size, stride in zip(first.shape, first.stride, strict=True) if size == 1]
    rest = intern(first.dtype, first.shape[len(leading) :], first.stride[len(leading) :])
    return 1 not in rest.shape and set(leading) == {first.numel} and rest.covers(first.nbytes) and not rest.is_default


def ones(meta: Meta) -> torch.Tensor:
    """A tensor of ones on the host with the strides of `meta`."""
    last = sum((size - 1) * stride for size, stride in zip(meta.shape, meta.stride, strict=True))
    extent = last + 1 if meta.numel else 0
    return torch.ones(extent, dtype=meta.dtype, device=CPU).as_strided(meta.shape, meta.stride)
