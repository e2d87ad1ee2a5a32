"""Elementwise calls on tensors that tiles would pad many times over: they run on the same elements in another shape.

A tile holds 32 x 32 elements of the last two dimensions, so that a kernel of 1 x 1, and what an optimizer keeps for it,
would take 1,024 times its size. As a matrix of its outputs and its inputs it takes little more than itself. A tensor
whose elements do not lie one behind the other, such as an operand of `einsum`, has its dimensions of 1 left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import torch

from ..memory.padding import WASTEFUL, held_by, tiled
from ..memory.tensor import DeviceTensor
from ..meta import Meta, in_rows, without_ones
from ..modes import without_any_modes
from ..plan import Plan
from .leading import shown
from .session import Session

# Smaller values fit as they are, and what other ops give or take of them need not be moved.
_LEAST_BYTES = 2**23

Planned = Callable[[Any, tuple, dict[str, Any]], Plan | None]
Runs = Callable[[Plan, tuple, dict[str, Any]], Any]


@lru_cache(maxsize=1 << 12)
def _matrix_of(meta: Meta, in_order: bool) -> Meta | None:
    """The matrix of the same elements that takes the fewest tiles; None if the tensor fits tiles well enough.

    Unless the elements of the call's tensors lie `in_order`, the tensor without its dimensions of 1.
    """
    held = held_by(meta)
    if meta.ndim < 3 or held < _LEAST_BYTES or held <= WASTEFUL * meta.nbytes:
        return None
    if in_order:
        shapes = ((prod(meta.shape[:dim]), prod(meta.shape[dim:])) for dim in range(1, meta.ndim))
        best = in_rows(meta.dtype, min(shapes, key=lambda shape: tiled(shape, meta.dtype)))
    else:
        best = without_ones(meta)
    return best if held > WASTEFUL * held_by(best) else None


def matrix_of_call(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Meta | None:
    """What the result of a call is as a matrix; None if the call has to run as it is."""
    if not (session.may_lead and plan.elementwise) or plan.returns_list or len(plan.outputs) != 1:
        return None
    made, given = plan.outputs[0], [slot.of(args, kwargs) for slot in plan.tensors]
    if not all(isinstance(t, torch.Tensor) and t.shape in ((), made.shape) for t in given):
        return None
    return _matrix_of(made, made.is_default and all(t.is_contiguous() for t in given))


def run(plan: Plan, args: tuple, kwargs: dict[str, Any], planned: Planned, runs: Runs) -> Any:
    """The result of a call on matrices in place of its tensors; None if one of them is held in another way."""
    assert plan.matrix is not None
    changed, named = list(args), dict(kwargs)
    for slot in plan.tensors:
        tensor = slot.of(args, kwargs)
        matrix = tensor if tensor.ndim == 0 else _as_matrix(tensor, plan.matrix.shape)
        if matrix is None:
            return None
        if isinstance(slot.where, int):
            changed[slot.where] = matrix
        else:
            named[slot.where] = matrix
    of_matrices = planned(plan.op, tuple(changed), named)
    if of_matrices is None or of_matrices.placement != "device" or of_matrices.outputs != [plan.matrix]:
        return None
    plan.count -= 1  # the plan that runs counts the call
    of_matrices.count += 1
    result = runs(of_matrices, tuple(changed), named)
    if plan.written:
        return plan.targets(args, kwargs)[0]
    made = plan.outputs[0]
    return shown(result, made) if isinstance(result, DeviceTensor) else result.view(made.shape)


def _as_matrix(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor | None:
    """The tensor in a shape of `_matrix_of`, over the same memory."""
    if not isinstance(tensor, DeviceTensor):
        with torch.no_grad(), without_any_modes():
            return tensor.view(shape)
    cell, meta = tensor._cell, tensor._meta
    if cell.longer is not None:
        return None
    if meta.covers(cell.nbytes) and tensor.is_contiguous():
        return DeviceTensor.make(cell, in_rows(meta.dtype, shape))
    squeezed = without_ones(meta)
    known = squeezed.shape == shape and cell.device_value(squeezed, None) is not None
    return DeviceTensor.make(cell, squeezed) if known else None
