"""Runs a call in the reference, and makes stand-in tensors with the reference's values for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..call import bind_arguments
from ..fallback.host import lazy_conjugation
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor, metadata_of
from ..memory.watch import storage_of
from ..meta import Meta
from ..modes import without_modes
from ..pytorch_private import OpOverload, tree_leaves, tree_map_only
from ..runtime.block_floats import block_float_of, carry_in
from ..schema import is_bookkeeping, is_view, written_arguments
from .shadows import Shadows

if TYPE_CHECKING:
    from ..runtime.session import Session

# Ops that allocate memory without values, or give a tensor other memory.
_WITHOUT_VALUES = ("empty", "new_empty", "set_", "resize_", "resize_as_", "lift", "rename")

# Sums may cancel. Their error is then compared with the terms, not with the small result.
_SUMS = frozenset(("sum", "mean", "nansum", "add", "sub", "rsub", "add_", "sub_", "cumsum", "dot"))

_WIDE = {torch.complex32: torch.complex128, torch.complex64: torch.complex128}


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that a reference in float64 uses in place of this one."""
    return torch.float64 if dtype.is_floating_point else _WIDE.get(dtype, dtype)


def computes(op: OpOverload) -> bool:
    """Whether the op computes values."""
    name = op._schema.name.partition("::")[2].lstrip("_")
    return not (is_bookkeeping(op) or is_view(op) or name.startswith(_WITHOUT_VALUES))


def cancels(op: OpOverload) -> bool:
    """Whether the op adds up numbers that may cancel."""
    return op._schema.name.partition("::")[2] in _SUMS


def written_to(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors of a call that the op writes to."""
    names = written_arguments(op)
    bound = bind_arguments(op, args, kwargs) if names else {}
    return tensors_in([bound[name] for name in names])


def reference_of(
    shadows: Shadows, in_double: bool, op: OpOverload, args: tuple, kwargs: dict[str, Any]
) -> tuple[Any, dict[int, torch.Tensor]]:
    """The reference's result of a call, and its tensors by the `id` of the program's. It writes where the call writes.

    Raises what PyTorch raises.
    """
    written = {id(tensor): shadows.writable(tensor) for tensor in written_to(op, args, kwargs)}
    plain = {id(tensor): tensor for tensor in tensors_in((args, kwargs))}
    given = {key: shadows.values(tensor) for key, tensor in plain.items() if key not in written} | written
    args, kwargs = tree_map_only(torch.Generator, torch.Generator.clone_state, (args, kwargs))
    args, kwargs = tree_map_only(torch.Tensor, lambda t: given[id(t)], (args, kwargs))
    if not in_double:
        return _made(op, args, kwargs), given
    if torch.Tag.nondeterministic_seeded not in op.tags:
        return _made(op, *_in_double(op, args, kwargs)), given
    # A seed gives other random numbers in float64, so the reference draws them in the program's dtype.
    narrow = {id(given[key]): given[key].to(tensor.dtype) for key, tensor in plain.items()}
    result = _made(op, *tree_map_only(torch.Tensor, lambda t: narrow[id(t)], (args, kwargs)))
    for tensor in written.values():
        tensor.copy_(narrow[id(tensor)])
    return tree_map_only(torch.Tensor, lambda t: t.to(wide(t.dtype)), result), given


def made_on_host(shadows: Shadows, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run the call on the host, on the reference's inputs in the program's dtypes: results, and what it wrote to."""
    given = {id(tensor): shadows.values(tensor).to(tensor.dtype, copy=True) for tensor in tensors_in((args, kwargs))}
    copied = tree_map_only(torch.Generator, torch.Generator.clone_state, (args, kwargs))
    result = _made(op, *tree_map_only(torch.Tensor, lambda t: given[id(t)], copied))
    return result, [given[id(tensor)] for tensor in written_to(op, args, kwargs)]


def _made(op: OpOverload, args: Any, kwargs: Any) -> Any:
    with torch.random.fork_rng(devices=[]), lazy_conjugation():
        return op(*args, **kwargs)


def _in_double(op: OpOverload, args: Any, kwargs: Any) -> Any:
    """The arguments of a call, with dtype arguments widened too."""
    args, kwargs = tree_map_only(torch.dtype, wide, (args, kwargs))
    bound = bind_arguments(op, args, kwargs)
    if bound.get("half_to_float"):  # which only takes half precision
        bound["half_to_float"] = False
        return (), bound
    return args, kwargs


class StandIns:
    """Tensors that replace a call's own and have the reference's values: the same metadata, on the same side.

    A tensor that is equal on both sides and not written to is used as it is, so that the upload of a weight is reused.
    """

    def __init__(self, session: Session, shadows: Shadows, written: list[torch.Tensor]):
        self._session, self._shadows = session, shadows
        self._written = {memory_of(tensor) for tensor in written}
        self._made: dict[Any, Any] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor that stands for one of the call's."""
        if self._shadows.find(tensor) is None and memory_of(tensor) not in self._written:
            return tensor
        made = self._made.get(id(tensor))
        if made is None:
            made = self._made[id(tensor)] = self._copy(tensor)
        return made

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, DeviceTensor):
            return self._on_device(tensor) if self._session.holds(tensor) else self._pinned(tensor)
        plain = self._in_memory(tensor, metadata_of(tensor))
        block_float = block_float_of(tensor)
        if block_float is None or not plain.is_floating_point():
            return plain
        parameter = torch.nn.Parameter(plain, requires_grad=False)
        carry_in(parameter, block_float)
        return parameter

    def _on_device(self, tensor: DeviceTensor) -> torch.Tensor:
        cell, meta = tensor._cell, tensor._meta
        root = cell.root
        if root.dtype is not meta.dtype or not root.covers(cell.nbytes):
            return self._session.to_device(self._in_memory(tensor, meta))
        if cell not in self._made:
            self._made[cell] = self._session.to_device(self._in_memory(tensor, root))
        return DeviceTensor.make(self._made[cell]._cell, meta, tensor._view)

    def _pinned(self, tensor: DeviceTensor) -> torch.Tensor:
        cell = tensor._cell
        if cell not in self._made:
            self._made[cell] = Cell.over(self._in_memory(tensor, metadata_of(tensor)))
        return DeviceTensor.make(self._made[cell], tensor._meta)

    def _in_memory(self, tensor: torch.Tensor, meta: Meta) -> torch.Tensor:
        key = memory_of(tensor), tensor.dtype
        if key not in self._made:
            self._made[key] = self._shadows.narrow(tensor, meta)
        return meta.on_storage(self._made[key].untyped_storage())


@contextmanager
def unseen() -> Iterator[None]:
    """Internal work: no mode sees it, and it may write to every tensor, also to inference tensors."""
    with without_modes(), torch.inference_mode():
        yield


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in a nest of arguments or results."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def memory_of(tensor: torch.Tensor) -> Any:
    """A key that is equal for tensors that share memory."""
    return tensor._cell if isinstance(tensor, DeviceTensor) else storage_of(tensor)._cdata
