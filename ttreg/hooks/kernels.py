"""Kernels of PyTorch's that go wrong under a mode before any aten call shows it, and what is run in their place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..runtime.tensor import DeviceTensor

aten = torch.ops.aten


def _split(self: Tensor, places: Tensor, dim: int = 0) -> Any:
    """`tensor_split` at places, or into so many parts, that a tensor holds: it is read, so it has to have memory."""
    plain = places.host() if isinstance(places, DeviceTensor) else places
    if plain.dtype is not torch.int64:
        dtype = plain.type().removeprefix("torch.").removesuffix("Tensor")
        raise RuntimeError(f"tensor_split expected tensor_indices_or_sections to have dtype of long, but got {dtype}")
    if plain.ndim > 1:
        raise RuntimeError(
            "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, "
            f"but got a tensor with {plain.ndim} dims"
        )
    return torch.tensor_split(self, plain.tolist(), dim)


def _rank(overload: str) -> Callable[..., Tensor]:
    functional = getattr(aten.linalg_matrix_rank, overload)

    def kernel(*args: Any, out: Tensor, **kwargs: Any) -> Tensor:
        """`matrix_rank` into `out`, which is left as it was under any mode: write to it as PyTorch does without one."""
        return torch.sum(functional(*args, **kwargs).unsqueeze(-1), -1, out=out)

    return kernel


KERNELS: dict[str, Callable[..., Any]] = {
    "tensor_split.tensor_indices_or_sections": _split,
    "linalg_matrix_rank.atol_rtol_tensor_out": _rank("atol_rtol_tensor"),
    "linalg_matrix_rank.atol_rtol_float_out": _rank("atol_rtol_float"),
    "linalg_matrix_rank.out": _rank("default"),
    "linalg_matrix_rank.out_tol_tensor": _rank("tol_tensor"),
}


@cache
def put_in_place() -> torch.library.Library:
    """Have PyTorch run these kernels from now on; they do the same outside of blocks."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Oo]verrid", category=UserWarning)
        for name, kernel in KERNELS.items():
            library.impl(name, kernel, "CompositeImplicitAutograd")
    return library  # the kernels last as long as it does
