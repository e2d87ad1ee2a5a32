"""The forms of an op that write to an argument, in place or to `out`, and other tensors for them to write to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch._ops import OpOverload

from ttreg.meta import dtype_name
from ttreg.registry import Entry
from ttreg.schema import functional_form, is_in_place, written_arguments

from .calls import outcome
from .variations import Variation

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool)


def forms(op: OpOverload) -> Iterator[OpOverload]:
    """The overloads that PyTorch has of the op and that write, of which it is the functional form."""
    namespace, _, name = op._schema.name.partition("::")
    for packet_name in (name, f"{name}_"):
        packet = getattr(getattr(torch.ops, namespace), packet_name, None)
        for overload_name in packet.overloads() if packet is not None else ():
            form = getattr(packet, overload_name)
            if functional_form(form) is op:
                yield form


def writes(entry: Entry, form: OpOverload, arguments: dict[str, Any]) -> Iterator[Variation]:
    """The form's call with other tensors to write to, one of them changed at a time."""
    written = written_arguments(form)
    if is_in_place(form):
        results = [arguments["self"]]
    else:
        results = outcome(entry.op, arguments)
    if not isinstance(results, list) or len(results) != len(written):
        return
    right = {name: torch.full_like(t, 1) for name, t in zip(written, results, strict=True)}
    if is_in_place(form):
        right = dict(zip(written, results, strict=True))
    for name, tensor in right.items():
        for what, other in _others(tensor):
            yield Variation(name, what, {**arguments, **right, name: other})


def _others(tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    yield "as it is", tensor
    yield "empty", tensor.new_zeros(0)
    yield "of a dimension more", tensor[None].clone()
    if tensor.ndim and tensor.numel():
        yield "one less of the first dimension", tensor[:-1].clone()
        yield "one of the first dimension", tensor[:1].clone()
        yield "expanded", tensor[:1].clone().expand_as(tensor)
        yield "transposed in memory", tensor.transpose(0, -1).contiguous().transpose(0, -1)
        yield "every other of the last dimension", tensor.repeat_interleave(2, -1)[..., ::2]
    for dtype in DTYPES:
        if dtype is not tensor.dtype:
            yield dtype_name(dtype), tensor.to(dtype)
