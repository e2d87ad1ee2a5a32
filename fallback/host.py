"""Runs an op on the host: inputs materialised, writes noted, results that alias a `DeviceTensor` kept its aliases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from ..conditions import Refusal
from ..meta import meta_of
from ..schema import written_arguments
from ..tensor import DeviceTensor, sync_metadata

if TYPE_CHECKING:
    from ..session import Session

FOREIGN = Refusal(
    "only ordinary CPU tensors and plain numbers", "", "symbolic and foreign calls pass through untouched"
)


def run(session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any], written: Sequence[Any]) -> Any:
    """Run `op` on plain tensors that share memory with the arguments; `written` are those it writes to."""
    stand_ins: dict[int, tuple[DeviceTensor, torch.Tensor]] = {}

    def to_host(tensor: DeviceTensor) -> torch.Tensor:
        if id(tensor) not in stand_ins:
            stand_ins[id(tensor)] = (tensor, tensor._cell.host_view(tensor._meta))
        return stand_ins[id(tensor)][1]

    plain_args, plain_kwargs = tree_map_only(DeviceTensor, to_host, (args, kwargs))
    try:
        result = op(*plain_args, **plain_kwargs)
    finally:  # an op that raises may have written already
        for tensor in written:
            if isinstance(tensor, DeviceTensor):
                tensor._cell.host_written()
                sync_metadata(tensor, to_host(tensor))
            elif isinstance(tensor, torch.Tensor):
                session.uploads.forget(tensor)
    return _with_aliases(result, list(stand_ins.values())) if stand_ins else result


def run_outside(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run `op` where no session can follow it: the memory of every `DeviceTensor` is the host's from here on."""
    stand_ins: dict[int, tuple[DeviceTensor, torch.Tensor]] = {}

    def to_host(tensor: DeviceTensor) -> torch.Tensor:
        if id(tensor) not in stand_ins:
            stand_ins[id(tensor)] = (tensor, tensor.host())
        return stand_ins[id(tensor)][1]

    plain_args, plain_kwargs = tree_map_only(DeviceTensor, to_host, (args, kwargs))
    result = op(*plain_args, **plain_kwargs)
    if written_arguments(op):
        for tensor, plain in stand_ins.values():
            tensor._cell.host_written()
            sync_metadata(tensor, plain)
    originals = {id(plain): tensor for tensor, plain in stand_ins.values()}
    return tree_map_only(torch.Tensor, lambda t: originals.get(id(t), t), result)


def pass_through(session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Let a call with symbolic numbers or foreign tensors go on to whoever it is for."""
    session.tally(op, "host", FOREIGN)
    return run_outside(op, args, kwargs)


def _with_aliases(result: Any, stand_ins: list[tuple[DeviceTensor, torch.Tensor]]) -> Any:
    def to_alias(tensor: torch.Tensor) -> torch.Tensor:
        for original, plain in stand_ins:
            if tensor is plain:
                return original
        for original, _ in stand_ins:
            storage = original._cell.storage
            if storage is not None and tensor.untyped_storage()._cdata == storage._cdata:
                return DeviceTensor.make(original._cell, meta_of(tensor))
        return tensor

    return tree_map_only(torch.Tensor, to_alias, result)
