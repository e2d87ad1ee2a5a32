"""Runs `nn.TransformerEncoder` with a padding mask without nested tensors, which the device does not have.

At inference, PyTorch puts the rows that are not padded into a nested tensor. After the last layer it fills the padded
rows with zeros. Here the layers run on ordinary tensors, and the padded rows are set to zeros too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


class _Nests(Exception):
    """The encoder is about to make a nested tensor of its input."""


class _OfThread(threading.local):
    source: torch.Tensor | None = None  # the input of an encoder that has not started its layers


_of_thread = _OfThread()


def forward(function: Callable[..., Any], find: Callable[[], Any]) -> Callable[..., Any]:
    """Replaces `nn.TransformerEncoder.forward`; in a block it makes no nested tensors."""

    def call(encoder: Any, src: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if find() is None or not _casts_alike(encoder):
            return function(encoder, src, *args, **kwargs)
        before, _of_thread.source = _of_thread.source, src
        try:
            return function(encoder, src, *args, **kwargs)
        except _Nests as nests:
            (is_kept,) = nests.args
        finally:
            _of_thread.source = before
        return _padded(encoder, src, is_kept)

    return call


def nested_tensor_from_mask(function: Callable[..., Any], find: Callable[[], Any]) -> Callable[..., Any]:
    """Replaces `torch._nested_tensor_from_mask`; it interrupts an encoder that is about to make a nested tensor."""

    def call(tensor: torch.Tensor, mask: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if tensor is _of_thread.source:
            raise _Nests(mask)
        return function(tensor, mask, *args, **kwargs)

    return call


def is_left_aligned(function: Callable[..., Any], find: Callable[[], Any]) -> Callable[..., Any]:
    """Replaces `torch._nested_tensor_from_mask_left_aligned`, by which an encoder checks its mask; reads only that."""

    def call(tensor: torch.Tensor, mask: torch.Tensor) -> bool:
        if tensor is _of_thread.source:
            tensor = torch.empty((), dtype=torch.bool, device="cpu").expand(tensor.shape)
        return function(tensor, mask)

    return call


def _casts_alike(encoder: Any) -> bool:
    """Whether the layers have autocast's dtype. Otherwise PyTorch refuses to run the norms of nested tensors."""
    if not torch.is_autocast_enabled("cpu"):
        return True
    return {parameter.dtype for parameter in encoder.layers.parameters()} == {torch.get_autocast_dtype("cpu")}


def _padded(encoder: Any, src: torch.Tensor, is_kept: torch.Tensor) -> torch.Tensor:
    output, is_padding = src, is_kept.logical_not()
    for layer in encoder.layers:
        output = layer(output, src_key_padding_mask=is_padding)
    output = output.masked_fill(is_padding.unsqueeze(-1), 0.0)
    return output if encoder.norm is None else encoder.norm(output)
