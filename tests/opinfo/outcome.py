"""What comes of a call: results, what became of its arguments, what shares memory, warnings, an error."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from ttreg.checking.compare import TOLERANCES
from ttreg.meta import meta_of

from .cases import Invocation

OfTensor = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Outcome:
    """What a program can see of one call. Tensors are copies made at that time."""

    error: str = ""
    results: list[Any] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    after_writes: list[Any] = field(default_factory=list)  # the arguments, once the results that alias them are zeroed
    aliases: set[tuple[int, int]] = field(default_factory=set)  # results and tensors that share memory, by number
    same_objects: set[tuple[int, int]] = field(default_factory=set)
    warnings: set[str] = field(default_factory=set)


def outcome(call: Invocation, copy: OfTensor, read: OfTensor, expected: Outcome | None = None) -> Outcome:
    """Make the call with copies of its arguments; `read` gives a plain tensor with the content of any other.

    Which results to write to is taken from the outcome on CPU, if that is given.
    """
    made = Outcome()
    args, kwargs = tree_map_only(torch.Tensor, copy, (call.args, call.kwargs))
    arguments = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    torch.default_generator.manual_seed(0)
    random.seed(0)
    results: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = tree_leaves(call.function(*args, **kwargs))
        except Exception as error:
            made.error = _as_on_cpu(f"{type(error).__name__}: {error}")
    made.warnings = {_as_on_cpu(str(warning.message)) for warning in caught}
    made.results = [_snapshot(result, read) for result in results]
    made.arguments = [_snapshot(argument, read) for argument in arguments]
    pairs = [(i, j) for i in range(len(results)) for j in range(len(results) + len(arguments)) if i != j]
    everything = results + arguments
    made.same_objects = {(i, j) for i, j in pairs if everything[i] is everything[j]}
    if expected is None:
        made.aliases = {(i, j) for i, j in pairs if _share_memory(everything[i], everything[j])}
    for index in sorted({i for i, _ in (expected or made).aliases if i < len(results)}):
        _zero(results[index])
    made.after_writes = [_snapshot(argument, read) for argument in arguments]
    if expected is not None:
        made.aliases = {(i, j) for i, j in pairs if _share_memory(everything[i], everything[j])}
    return made


def difference(
    given: Outcome,
    expected: Outcome,
    computed_in: torch.dtype | None = None,
    elementwise: bool = False,
    any_order: bool = False,
) -> str:
    """The first thing in which two outcomes differ, or nothing.

    Values have to be equal, unless the device computed in a dtype that rounds. Then they may differ by a few roundings
    in that dtype: of each value where the op is `elementwise`, else of the largest one, since a sum is as exact as its
    largest term. In `any_order`, integers are places that only have to be as many.
    """
    for name in ("error", "warnings", "same_objects", "aliases"):
        one, other = getattr(given, name), getattr(expected, name)
        if one != other:
            return f"{name}: {one or 'none'} instead of {other or 'none'}"
    for name in ("results", "arguments", "after_writes"):
        ones, others = getattr(given, name), getattr(expected, name)
        if len(ones) != len(others):
            return f"{len(ones)} {name} instead of {len(others)}"
        for number, (one, other) in enumerate(zip(ones, others, strict=True)):
            found = _value_difference(one, other, computed_in, elementwise, any_order)
            if found:
                return f"{name}[{number}]: {found}"
    return ""


def _as_on_cpu(text: str) -> str:
    # PyTorch's argument parser names types, and marks those with another name than the schema's, such as Parameter.
    return text.replace("!DeviceTensor!", "Tensor").replace("DeviceTensor", "Tensor")


def _snapshot(value: Any, read: OfTensor) -> Any:
    """A plain copy with the same strides, or the value itself if it is no tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    with _disable_current_modes(), torch.no_grad():
        return host_copy(read(value))


def host_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A plain tensor of the same layout, with the content of the whole storage."""
    with _disable_current_modes():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            return tensor.clone()
        copied = meta_of(tensor).on_storage(tensor.untyped_storage().clone())
        copied = copied.conj() if tensor.is_conj() else copied
        return torch._neg_view(copied) if tensor.is_neg() else copied


def _share_memory(one: Any, other: Any) -> bool:
    if not (_is_strided(one) and _is_strided(other)):
        return False
    with _disable_current_modes():
        first, second = one.untyped_storage(), other.untyped_storage()
        return bool(first.nbytes()) and first.data_ptr() == second.data_ptr()


def _is_strided(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _zero(result: torch.Tensor) -> None:
    with contextlib.suppress(RuntimeError):  # its elements share memory among themselves; it raises on CPU likewise
        result.zero_()


def _value_difference(one: Any, other: Any, computed_in: torch.dtype | None, elementwise: bool, any_order: bool) -> str:
    if not isinstance(other, torch.Tensor):
        same = type(one) is type(other) and (one == other or (one != one and other != other))
        return "" if same else f"{one!r} instead of {other!r}"
    for name in ("dtype", "shape", "layout"):
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            return f"{name} {a} instead of {b}"
    if other.layout is torch.strided:
        a, b = (one.stride(), one.storage_offset()), (other.stride(), other.storage_offset())
        if a != b:
            return f"strides and offset {a} instead of {b}"
    if any_order and other.dtype is torch.int64:
        return ""
    rtol, atol = _tolerance(other, computed_in, elementwise)
    if not atol and other.ndim > 64:  # more than the comparison below takes
        return "" if torch.equal(one, other) else "the values differ"
    try:
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        return " ".join(str(error).split())
    return ""


def _tolerance(expected: torch.Tensor, computed_in: torch.dtype | None, elementwise: bool) -> tuple[float, float]:
    if computed_in is None or expected.layout is not torch.strided or not expected.numel():
        return 0.0, 0.0
    if not (expected.dtype.is_floating_point or expected.dtype.is_complex):
        return 0.0, 0.0
    rtol, atol = max(_roundings(computed_in), _roundings(expected.dtype))
    largest = expected.detach().abs().double().nan_to_num(posinf=0.0).max()
    return rtol, atol * (1.0 if elementwise else max(1.0, float(largest)))


def _roundings(dtype: torch.dtype) -> tuple[float, float]:
    """Relative and absolute tolerance; a complex number has the parts' one."""
    if dtype is torch.complex64:
        dtype = torch.float32
    return TOLERANCES.get(dtype, (64 * torch.finfo(torch.float64).eps,) * 2)
