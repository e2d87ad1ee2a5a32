"""What an entry gives as `outputs` where CPU has other strides than PyTorch's shape function says."""

from __future__ import annotations

import torch

from ...call import Call
from ...meta import Meta, intern, meta_of


def contiguous(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The outputs in rows, as PyTorch's kernel gives them whatever the strides of its input."""
    return [meta_of(torch.empty(meta.shape, dtype=meta.dtype, device="meta")) for meta in outputs]


def first_strides(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The output of two tensors with the strides that PyTorch's kernel gives it: where the tensors' differ, those of
    the first, which its shape function takes for the second."""
    tensors = [meta.like(torch.float32).on_meta() for _, meta in call.tensors()]
    if len(tensors) != 2:
        return outputs
    result = tensors[0] + tensors[1]
    return [intern(meta.dtype, meta.shape, result.stride()) for meta in outputs]
