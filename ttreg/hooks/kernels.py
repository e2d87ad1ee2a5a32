"""Replaces PyTorch kernels that go wrong under a mode, since they fail before an aten call reaches the mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..memory.tensor import DeviceTensor
from ..pytorch_private import DispatchKey, DispatchKeySet, tree_any

aten = torch.ops.aten

Kernel = Callable[..., Any]
Make = Callable[[Kernel], Kernel]
_CPU = DispatchKeySet(DispatchKey.CPU)


def find_block() -> Any:
    """The block of this thread, or None. `replaced` puts the function here that knows the blocks."""


def _split(original: Kernel) -> Kernel:
    def kernel(self: Tensor, places: Tensor, dim: int = 0) -> Any:
        """`tensor_split` by a tensor of places or sections. PyTorch reads it from memory, so it comes to the host."""
        return original(self, places.host() if isinstance(places, DeviceTensor) else places, dim)

    return kernel


def _rank(overload: str) -> Make:
    functional = getattr(aten.linalg_matrix_rank, overload)

    def make(original: Kernel) -> Kernel:
        def kernel(*args: Any, out: Tensor, **kwargs: Any) -> Tensor:
            """`matrix_rank` with `out`. Under any mode PyTorch's kernel does not write to `out`, so this does."""
            if (out.is_cpu and find_block() is not None) or tree_any(_on_device, (args, out, kwargs)):
                return torch.sum(functional(*args, **kwargs).unsqueeze(-1), -1, out=out)
            return original(*args, out=out, **kwargs)

        return kernel

    return make


def _on_device(value: Any) -> bool:
    return isinstance(value, DeviceTensor)


# For each op, a function that makes the replacement from PyTorch's own kernel. The replacement runs PyTorch's kernel
# wherever that is correct.
KERNELS: dict[str, Make] = {
    "tensor_split.tensor_indices_or_sections": _split,
    "linalg_matrix_rank.atol_rtol_tensor_out": _rank("atol_rtol_tensor"),
    "linalg_matrix_rank.atol_rtol_float_out": _rank("atol_rtol_float"),
    "linalg_matrix_rank.out": _rank("default"),
    "linalg_matrix_rank.out_tol_tensor": _rank("tol_tensor"),
}


@cache
def put_in_place() -> torch.library.Library:
    """Register these kernels with PyTorch. Outside of blocks they change nothing, except for device tensors."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Oo]verrid", category=UserWarning)
        for name, make in KERNELS.items():
            kernel = make(_original(name))
            library.impl(name, kernel, "CompositeImplicitAutograd")
    return library  # the kernels stay registered while the library lives


def _original(name: str) -> Kernel:
    kernel = torch.library.get_kernel(f"aten::{name}", "CPU")
    return lambda *args, **kwargs: kernel.call_boxed(_CPU, *args, **kwargs)
