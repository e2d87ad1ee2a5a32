"""Hands `linear` and `matmul` to a block as one op. Outside of inference mode, PyTorch takes them apart before that.

That is done only for calls of which every circumstance is known: plain tensors and device tensors, and nothing in the
thread's way but blocks of `device_mode`. PyTorch handles all others as ever: transforms of `torch.func`, autocast,
tracers, other modes, hooks on what autograd saves, subclasses of tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..memory.tensor import DeviceTensor
from ..meta import is_plain
from ..modes import BlockMode, Watching, without_overrides
from ..pytorch_private import (
    KEYS_UNDER_A_MODE,
    DefaultDevice,
    DispatchKey,
    below_autograd,
    count_of_dispatch_modes,
    count_of_function_modes,
    dispatch_modes,
    excluded_keys,
    function_modes,
    hooks_of_saved_tensors,
    in_forward_ad,
    included_keys,
)

Function = Callable[..., Any]

_TYPES = frozenset((Tensor, torch.nn.Parameter, DeviceTensor))
_ARGUMENTS = ("input", "weight", "bias")
_HARMLESS = (Watching, DefaultDevice)  # modes that make a call of `linear` as it is
_is_traced = torch.compiler.is_dynamo_compiling
_autocasts = torch.is_autocast_enabled


def linear(function: Function, find: Callable[[], Any]) -> Function:
    """Replaces `torch.nn.functional.linear`."""

    def call(*args: Any, **kwargs: Any) -> Tensor:
        # Dynamo, which may trace this in a thread outside of blocks, takes the first for true and sees nothing further.
        if _is_traced() or not count_of_dispatch_modes() or not _usual():
            return function(*args, **kwargs)
        given = args if len(args) == 3 and not kwargs else _named(*args, **kwargs)
        return _whole(function, *given) if _is_ordinary(*given) else function(*args, **kwargs)

    return call


def matmul(function: Function, find: Callable[[], Any]) -> Function:
    """Replaces `torch.matmul` and the methods of tensors, for calls that autograd does not follow."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_traced() or kwargs or len(args) != 2 or not count_of_dispatch_modes():
            return function(*args, **kwargs)
        first, second = args
        if type(first) not in _TYPES or type(second) not in _TYPES or not _usual():
            return function(first, second)
        if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
            return function(first, second)
        with below_autograd():
            return function(first, second)

    return call


def _usual() -> bool:
    """Whether blocks, and autograd, are all that sees a call of this thread."""
    return (
        included_keys().raw_repr() == KEYS_UNDER_A_MODE
        and not _autocasts("cpu")
        and not in_forward_ad()
        and (not count_of_function_modes() or all(isinstance(mode, _HARMLESS) for mode in function_modes()))
        and all(isinstance(mode, BlockMode) for mode in dispatch_modes())
    )


def _named(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """The arguments by their names; None for each if they do not fit, which PyTorch then says in its own words."""
    given = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    fit = len(given) == len(args) + len(kwargs) and given.keys() <= set(_ARGUMENTS)
    return tuple(given.get(name) if fit else None for name in _ARGUMENTS)


def _is_ordinary(input: Any, weight: Any, bias: Any) -> bool:
    return type(input) in _TYPES and type(weight) in _TYPES and (bias is None or type(bias) in _TYPES)


def _whole(function: Function, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not torch.is_grad_enabled() or not (
        input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        with below_autograd():
            return function(input, weight, bias)
    if _is_simple(input, weight, bias):
        return Linear.apply(function, input, weight, bias)
    return function(input, weight, bias)


def _is_simple(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether autograd's part is known: rows times a matrix, which nobody asks to keep elsewhere."""
    return (
        hooks_of_saved_tensors(True) is None
        and not excluded_keys().has(DispatchKey.AutogradCPU)
        and input.is_floating_point()
        and input.dim() >= 2
        and weight.dim() == 2
        and all(type(t) is DeviceTensor or is_plain(t) for t in (input, weight, bias) if t is not None)
        and input.is_contiguous()
        and weight.is_contiguous()
        and (bias is None or bias.shape == weight.shape[:1])
    )


class Linear(torch.autograd.Function):
    """`linear` whole, with the gradients that PyTorch computes for its parts."""

    @staticmethod
    def forward(ctx: Any, function: Function, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.set_materialize_grads(False)
        _, of_input, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input if of_weight else None, weight if of_input else None)
        with below_autograd():
            return function(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
        input_saved, weight = ctx.saved_tensors
        with without_overrides():  # in PyTorch's own backward, no mode sees functions
            return None, *_gradients(gradient, input_saved, weight, ctx.needs_input_grad[1:])


def _gradients(
    gradient: Tensor, input: Tensor, weight: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    lead, width = gradient.shape[:-1], gradient.shape[-1]
    rows = gradient.reshape(prod(lead), width)
    by_input = rows.mm(weight).view(*lead, weight.shape[1]) if needed[0] else None
    by_weight = rows.t().mm(input.reshape(prod(lead), input.shape[-1])) if needed[1] else None
    return by_input, by_weight, rows.sum(0) if needed[2] else None
