"""Collectives of `torch.distributed` that carry a process group. They send from, and receive in, memory of the host."""

from __future__ import annotations

from typing import Any

import torch

from ..call import bind_arguments
from ..memory import watch
from ..memory.tensor import DeviceTensor
from ..pytorch_private import OpOverload, tree_leaves, tree_map_only
from ..schema import written_arguments


def run(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a collective on plain tensors that share memory with the arguments.

    The program waits for one that is not asynchronous before it does anything else. So that is done here, and what it
    has received goes to the device where it is needed there. What an asynchronous one receives in, which is written at
    any time until the program has waited, stays on the host.
    """
    bound = bind_arguments(op, args, kwargs)
    waits = bound.get("async_op") is False
    received = [t for t in tree_leaves([bound[name] for name in written_arguments(op)]) if isinstance(t, torch.Tensor)]
    ids = frozenset(map(id, received))

    def plain(tensor: DeviceTensor) -> torch.Tensor:
        return tensor._cell.host_view(tensor._meta) if waits or id(tensor) not in ids else tensor.host()

    plain_args, plain_kwargs = tree_map_only(DeviceTensor, plain, (args, kwargs))
    try:
        result = op(*plain_args, **plain_kwargs)
        if waits:
            for work in tree_leaves(result):
                if isinstance(work, torch.ScriptObject):
                    work.wait()  # type: ignore[attr-defined]
    finally:  # one that raises may have received some
        for tensor in received:
            if isinstance(tensor, DeviceTensor):
                tensor._cell.host_written()
            else:
                watch.written(tensor)
    return result
