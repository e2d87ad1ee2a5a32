"""One emulated ttnn operation: values of the golden function, with ttnn's dtype and layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
import ttnn

from ...errors import ValidationError
from .. import chip
from ..base import RefusedByDevice
from .as_ttnn import EmulatedHandle
from .references import OF_TWO, REFERENCES, after_steps
from .rules import result_dtypes, result_layout
from .tensor import EmulatedTensor, stored


def make_operation(name: str, operation: Any, mock: chip.Chip | None, numerics: str = "golden") -> Callable[..., Any]:
    """The emulation of `ttnn.<name>`; with `mock`, each call is also made there and what ttnn reports must agree.

    A function of ttnn that is no operation (`ttnn.Conv2dConfig`, `ttnn.init_device_compute_kernel_config`) is itself.
    """
    reference = REFERENCES.get(name) or getattr(operation, "golden_function", None)
    if reference is None and not hasattr(operation, "golden_function"):
        return operation
    held: Callable[[torch.Tensor, Any], torch.Tensor] = stored
    chain = ttnn.unary_chain.golden_function if name in OF_TWO else None
    if reference is not None and numerics == "chip":
        from .numerics import as_on_chip, packed

        reference, held = as_on_chip(name, reference), partial(packed, name)
        chain = chain and as_on_chip("unary_chain", chain)
    if reference is not None and chain is not None:
        reference = after_steps(reference, chain)

    def call(*args: Any, **kwargs: Any) -> Any:
        if reference is None:
            raise RefusedByDevice(f"ttnn.{name} (emulated)", "it has no golden function, and no reference of ours")
        try:
            with torch.no_grad():
                values = reference(*_map(_data, args), **_map(_data, _of_values(kwargs)))
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            raise RefusedByDevice(f"ttnn.{name} (emulated)", chip.first_line(error)) from error
        several = isinstance(values, (list, tuple))
        flat = list(values) if several else [values]
        layout = result_layout(name, args, kwargs)
        results = [
            EmulatedTensor(held(value, dtype), dtype, layout)
            for value, dtype in zip(flat, result_dtypes(name, args, kwargs, len(flat)), strict=True)
        ]
        if mock is not None:
            _validate(name, attrgetter(name)(mock.tt), args, kwargs, results)
        into = args[0] if name.endswith("_") else next((kwargs[k] for k in _OUTPUTS if kwargs.get(k) is not None), None)
        if isinstance(into, EmulatedTensor) and not several:
            into.data.copy_(results[0].data)
            return into
        return results if several else results[0]

    return call


# Arguments that say where or how a chip works, which changes no values, and that name a tensor to write to.
_OUTPUTS = ("output_tensor", "optional_output_tensor")
_OF_A_CHIP = frozenset(
    ("memory_config", "program_config", "core_grid", "queue_id", "cq_id", "sub_core_grids", *_OUTPUTS)
)


def _of_values(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The named arguments that may change the values."""
    if _OF_A_CHIP.isdisjoint(kwargs):
        return kwargs
    return {name: value for name, value in kwargs.items() if name not in _OF_A_CHIP}


def _validate(name: str, real: Callable[..., Any], args: Any, kwargs: Any, results: list[EmulatedTensor]) -> None:
    """Make the call on the mocked chip; raises ValidationError if it is refused or differs in what it reports."""
    try:
        made = real(*_map(_twin, args), **_map(_twin, kwargs))
    except RefusedByDevice as refused:
        raise ValidationError(f"ttnn refuses {name}({_list(args, kwargs)}): {refused.message}") from refused
    for result, twin in zip(results, made if isinstance(made, (list, tuple)) else [made], strict=True):
        reported = (tuple(twin.shape), twin.dtype, twin.layout)
        emulated = (tuple(result.shape), result.dtype, result.layout)
        if reported != emulated:
            raise ValidationError(f"ttnn reports {reported} for {name}({_list(args, kwargs)}), emulated {emulated}")
        result.twin = twin


def _list(args: Any, kwargs: Any) -> str:
    return ", ".join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])


def _data(tensor: EmulatedTensor) -> torch.Tensor:
    return tensor.data


def _twin(tensor: EmulatedTensor) -> Any:
    return tensor.twin


def _map(function: Callable[[EmulatedTensor], Any], value: Any) -> Any:
    if isinstance(value, EmulatedTensor):
        return function(value)
    if isinstance(value, EmulatedHandle):
        return value.real
    if isinstance(value, ttnn.Shape):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map(function, item) for item in value)
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    return value
