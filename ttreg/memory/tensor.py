"""`DeviceTensor` looks like an ordinary CPU tensor. Its data stays on the device until the host needs it."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch

from ..meta import Meta, meta_of
from ..modes import BlockMode, overrides_are_active, without_modes, without_overrides
from ..pytorch_private import (
    DisableTorchDispatch,
    add_suffixes,
    clear_transforms,
    disable_current_modes,
    disabled_torch_function,
    dispatch_modes,
    tensor_data,
    throw_on_mutable_data_ptr,
)
from .cell import Cell
from .chains import ViewOf
from .reads import given_away, seen

_make_wrapper = torch.Tensor._make_wrapper_subclass
_make_subclass: Any = torch.Tensor._make_subclass  # PyTorch's own, which a block replaces for the program
_throw_on_mutable_data_ptr = throw_on_mutable_data_ptr
_inference = torch.is_inference_mode_enabled
_nothing = nullcontext()
_NO_DISPATCH = torch.Tensor.__torch_dispatch__
_OWN_ATTRIBUTES = ("_cell", "_meta", "_view")


@contextmanager
def _on_the_host() -> Iterator[None]:
    """Work with plain tensors: no mode dispatches the calls, and no transform of `torch.func` wraps the tensors."""
    with without_modes(), clear_transforms():
        yield


@contextmanager
def _read_by_the_program() -> Iterator[None]:
    """As `_on_the_host`, but a mode that overrides functions sees the read, as it sees one of a plain tensor."""
    with disable_current_modes(), clear_transforms():
        yield


class DeviceTensor(torch.Tensor):
    """A wrapper subclass over a `Cell`. Shape, dtype and strides are what plain PyTorch would give on CPU."""

    _cell: Cell
    _meta: Meta
    _view: ViewOf | None

    __torch_function__ = disabled_torch_function

    # Runs a call on the host, outside of every block. The host runtime sets it: this module cannot import the host
    # runtime, which itself uses `DeviceTensor`.
    run_outside: ClassVar[Callable[[Any, tuple, dict[str, Any]], Any]]

    @staticmethod
    def make(cell: Cell, meta: Meta, view: ViewOf | None = None) -> DeviceTensor:
        """A tensor with metadata `meta` over `cell`."""
        tensor: Any
        if meta.is_default:  # fewer arguments are faster
            tensor = _make_wrapper(DeviceTensor, meta.shape, dtype=meta.dtype)
        else:
            tensor = _make_wrapper(
                DeviceTensor, meta.shape, strides=meta.stride, storage_offset=meta.offset, dtype=meta.dtype
            )
        tensor._cell, tensor._meta, tensor._view = cell, meta, view
        _throw_on_mutable_data_ptr(tensor)  # C++ that wants the memory gets an error, not a null pointer
        return tensor

    @staticmethod
    def view_of(source: DeviceTensor, meta: Meta, view: ViewOf | None = None, detached: bool = False) -> DeviceTensor:
        """A tensor with metadata `meta` over the cell of `source`. PyTorch's C++ code knows it as an alias of `source`.

        It is an inference tensor exactly if `source` is one, also if inference mode has changed since.
        """
        # The fast way makes an alias that may be written outside of inference mode, even if `source` is an inference
        # tensor. PyTorch allows that for a detached tensor that was made in inference mode, but not for a view.
        if meta.dtype is source._meta.dtype and (not source.is_inference() or detached):
            try:
                with DisableTorchDispatch():
                    alias = torch.as_strided(source, meta.shape, meta.stride, meta.offset)
            except RuntimeError:  # the storage was resized, and PyTorch still has its old size
                pass
            else:
                tensor: Any = _make_subclass(DeviceTensor, alias)
                tensor._cell, tensor._meta, tensor._view = source._cell, meta, view
                return tensor
        with torch.inference_mode(source.is_inference()):
            return DeviceTensor.make(source._cell, meta, view)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if others_subclass(types):
            return NotImplemented
        block = next((mode for mode in dispatch_modes() if isinstance(mode, BlockMode)), None)
        if block is not None:  # a mode returned NotImplemented, so PyTorch asks the types
            with disable_current_modes():
                return block.__torch_dispatch__(func, types, args, kwargs)
        # This thread is in no block. So the host runs the call, and plain tensors share the memory from here on.
        with without_overrides() if overrides_are_active() else nullcontext():
            return DeviceTensor.run_outside(func, args, kwargs or {})

    @staticmethod
    def make_alike(original: torch.Tensor, cell: Cell, meta: Meta, detached: bool = False) -> DeviceTensor:
        """As `make`, but an inference tensor exactly if `original` is one."""
        if isinstance(original, DeviceTensor) and original._cell is cell:
            return DeviceTensor.view_of(original, meta, detached=detached)
        with torch.inference_mode(original.is_inference()):
            return DeviceTensor.make(cell, meta)

    def host(self) -> torch.Tensor:
        """A plain CPU tensor over the same memory, downloaded if need be; autograd does not follow it."""
        # In inference mode if this is an inference tensor, so that views of the result are inference tensors too.
        inference = self.is_inference()
        with _on_the_host(), _nothing if inference == _inference() else torch.inference_mode(inference):
            given_away(self)._cell.pin()
            return self._cell.host_view(self._meta)

    def become(self, other: DeviceTensor) -> None:
        """Take over the other's data and metadata, as `tensor.data = other` and `tensor.t_()` do."""
        tensor_data.__set__(self, other)
        self._cell, self._meta, self._view = other._cell, other._meta, other._view

    @property
    def data(self) -> torch.Tensor:
        """As `Tensor.data`; assigning to it takes over the other's data."""
        return tensor_data.__get__(self)

    @data.setter
    def data(self, other: torch.Tensor) -> None:
        if not isinstance(other, DeviceTensor):
            other = DeviceTensor.make_alike(other, Cell.over(other), meta_of(other))
        self.become(other)

    def _ordinary(self) -> torch.Tensor:
        """A plain tensor over the same memory that is a leaf or Parameter where this one is."""
        plain = self.host()
        if isinstance(self, torch.nn.Parameter):
            with _on_the_host():
                plain = torch.nn.Parameter(plain, self.requires_grad)
        elif self.requires_grad:
            with _on_the_host():
                plain.requires_grad_()
        plain.__dict__.update((k, v) for k, v in self.__dict__.items() if k not in _OWN_ATTRIBUTES)
        return plain

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """As `Tensor.numpy`: shares memory, and raises for a tensor that requires grad unless forced."""
        return self._ordinary().numpy(force=force)

    # Python's conversions read the number from the host, and so do PyTorch's conversions of lists of tensors.
    def __float__(self) -> float:
        return float(self._to_read())

    def __int__(self) -> int:
        return int(self._to_read())

    def __bool__(self) -> bool:
        return bool(self._to_read())

    def __complex__(self) -> complex:
        return complex(self._to_read())

    def __index__(self) -> int:
        return operator.index(self._to_read())

    def _to_read(self) -> torch.Tensor:
        with _on_the_host():
            plain = self._seen()
            return plain.requires_grad_() if self.requires_grad else plain

    def _seen(self) -> torch.Tensor:
        return seen(self)._cell.host_view(self._meta)

    def __coerce_same_metadata_as_tangent__(self, expected_metadata: Any, expected_type: Any = None) -> torch.Tensor:
        # AOTAutograd calls this for a gradient if its plan expects a plain tensor.
        return self.host()

    def tolist(self) -> Any:
        """As `Tensor.tolist`."""
        with _read_by_the_program():
            return self._seen().tolist()

    def data_ptr(self) -> int:
        """As `Tensor.data_ptr`: the address of the data on the host."""
        return self.host().data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """As `Tensor.untyped_storage`: the memory on the host."""
        return self.host().untyped_storage()

    def _typed_storage(self) -> Any:
        return self.host()._typed_storage()

    def __dlpack__(self, **options: Any) -> Any:
        return self._ordinary().__dlpack__(**options)

    def as_subclass(self, cls: type) -> Any:
        """As `Tensor.as_subclass`: a tensor of that class over the memory on the host."""
        plain = _OnHost.apply(self) if self.requires_grad and torch.is_grad_enabled() else self.host()
        return plain.as_subclass(cls)

    def set_(self, source: Any = None, *geometry: Any, **named: Any) -> DeviceTensor:
        """As `Tensor.set_`."""
        torch.Tensor.set_(self, *with_memory(source, *geometry), **named)
        return self

    def share_memory_(self) -> DeviceTensor:
        """As `Tensor.share_memory_`."""
        self.untyped_storage().share_memory_()
        return self

    def apply_(self, function: Callable[[Any], Any]) -> DeviceTensor:
        """As `Tensor.apply_`."""
        self.host().apply_(function)
        return self

    def map_(self, other: torch.Tensor, function: Callable[[Any, Any], Any]) -> DeviceTensor:
        """As `Tensor.map_`."""
        self.host().map_(other.host() if isinstance(other, DeviceTensor) else other, function)
        return self

    def is_shared(self) -> bool:
        """As `Tensor.is_shared`."""
        return self.host().is_shared()

    def __reduce_ex__(self, protocol: Any) -> Any:
        with _read_by_the_program():
            return self._ordinary().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self.is_leaf:
            return super().__deepcopy__(memo)  # raises as a plain tensor does
        if id(self) in memo:
            return memo[id(self)]
        with _on_the_host():
            plain = self._ordinary()
            result = memo[id(self)] = copy.deepcopy(plain, memo)
            if self.grad is not None:
                result.grad = copy.deepcopy(self.grad, memo)
            return result

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if self.dim() == 0 else object.__format__(self, specification)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        with _read_by_the_program():
            text = repr(self._seen())
        if isinstance(self, torch.nn.Parameter):
            text = f"Parameter containing:\n{text}"
        if not self.requires_grad:
            return text
        grad_fn = self.grad_fn
        suffix = "requires_grad=True" if grad_fn is None else f"grad_fn=<{type(grad_fn).__name__}>"
        return add_suffixes(text.removesuffix(")"), [suffix], len("tensor("), False)


class _OnHost(torch.autograd.Function):
    """Gives a plain tensor over the same memory; gradients flow through it."""

    @staticmethod
    def forward(ctx: Any, tensor: DeviceTensor) -> torch.Tensor:
        return tensor.host()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def metadata_of(tensor: torch.Tensor) -> Meta:
    """The metadata of a plain tensor or a device tensor. A device tensor stays where it is."""
    return tensor._meta if isinstance(tensor, DeviceTensor) else meta_of(tensor)


def others_subclass(types: Any) -> bool:
    """Whether the call has a tensor of another library's subclass that handles calls itself."""
    for kind in types:  # noqa: SIM110 (every call asks, and a generator takes longer)
        if kind is not DeviceTensor and kind.__torch_dispatch__ is not _NO_DISPATCH:
            return True
    return False


def with_memory(source: Any = None, *geometry: Any) -> tuple:
    """The arguments of `Tensor.set_`, with plain tensors for `DeviceTensor`s, whose own storage is empty."""
    if geometry and isinstance(source, DeviceTensor):
        source = source.host()
    return (*(() if source is None else (source,)), *geometry)
