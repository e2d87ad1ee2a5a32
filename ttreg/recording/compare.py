"""Compares what a replay would leave behind with what the function itself left."""

from __future__ import annotations

from typing import Any

import torch

from ..checking.compare import pcc
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import CPU
from ..modes import without_modes
from ..pytorch_private import tree_leaves
from .results import Results, new_cell, storage_of_external
from .words import present

_LEAST_PCC = 0.999


def difference(session: Any, results: Results, registers: list[Any], arguments: list[Any], eager: Any) -> str:
    """How a replay that has not been committed differs from the function's own run; empty if it does not."""
    leaves = tree_leaves(eager)
    if len(leaves) != len(results.leaves):
        return "the function returned another number of results"
    cells = [new_cell(session, held, held.value(registers)) for held in results.cells]
    first: dict[int, torch.Tensor] = {}
    with without_modes():
        for number, (leaf, own) in enumerate(zip(results.leaves, leaves, strict=True)):
            if isinstance(own, torch.Tensor) and first.setdefault(id(leaf), own) is not own:
                return f"result {number} was another tensor than one before, and would be the same"
            replayed = results.leaf(leaf, cells, {}, registers, arguments)
            if not isinstance(own, torch.Tensor):
                if type(own) is not type(replayed) or repr(own) != repr(replayed):
                    return f"result {number} is {replayed!r:.60}, and was {own!r:.60}"
            elif leaf.kind == "external":
                if own is not replayed:
                    return f"result {number} is another tensor"
            elif leaf.kind != "view":
                found = _apart(session, replayed, own)
                if found:
                    return f"result {number} {found}"
        for external, held in results.commits:
            tensor = present(external, arguments)
            made: Any = DeviceTensor.make(new_cell(session, held, held.value(registers)), tensor._meta, tensor._view)
            found = _apart(session, made, tensor)
            if found:
                return f"{external.name}, which it writes to, {found}"
        for owner, new in results.gradients:
            gradient = present(owner, arguments).grad
            if (gradient is None) != (new is None):
                return f"the gradient of {owner.name} is missing, or should be"
            if new is not None and gradient is not None and new.kind not in ("external", "view"):
                found = _apart(session, results.leaf(new, cells, {}, registers, arguments), gradient)
                if found:
                    return f"the gradient of {owner.name} {found}"
        for external, ref in results.host_commits:
            written, kept = registers[ref.number], storage_of_external(external, arguments)
            if not torch.equal(_bytes_of(written), _bytes_of(kept)):
                return f"{external.name}, which it writes to, has other values"
    return ""


def _apart(session: Any, replayed: torch.Tensor, own: torch.Tensor) -> str:
    if type(replayed) is not type(own):
        return f"is a {type(replayed).__name__}, and was a {type(own).__name__}"
    if metadata_of(replayed) is not metadata_of(own):
        return f"is {metadata_of(replayed)}, and was {metadata_of(own)}"
    one, other = session.peek(replayed), session.peek(own)
    if session.device.name == "ttnn":
        found = pcc(one, other)
        return "" if found >= _LEAST_PCC else f"has a PCC of {found:.4f}"
    return "" if _bits(one) == _bits(other) else "has other values"


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=CPU).set_(storage)


def _bits(plain: torch.Tensor) -> bytes:
    with without_modes():
        return plain.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).numpy().tobytes()
