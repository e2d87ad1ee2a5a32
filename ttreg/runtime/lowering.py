"""Calls a lowering, and checks what it returns against the op's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from ..carriers import Carriers
from ..devices.base import RefusedByDevice, Value, ttnn_dtype_name
from ..errors import DeviceError, LoweringError, ValidationError
from ..exact.cost import TooDear
from ..images import Image, rows, unfolded
from ..memory.longer import stretched
from ..meta import Meta, in_rows
from ..plan import Plan
from ..room import Room
from .api import Api

ONE_TENSOR = (True,)  # `as_made` of a lowering that returns no list


def run_lowering(tt: Api, carriers: Carriers, plan: Plan, arguments: dict[str, Any]) -> list[Value]:
    """The outputs of the plan's lowering, in tile layout and in their carrier dtypes. A lazy output is a function.

    A lowering sees metadata only. So its results are checked against the metadata of the plan's outputs at the plan's
    first call.

    Raises RefusedByDevice if ttnn refuses a call, LoweringError if the lowering itself is at fault.
    """
    try:
        made = plan.entry.function(tt, **arguments)  # type: ignore[union-attr, misc]
        if plan.as_made is ONE_TENSOR:
            return [made]
        return _finished(tt, carriers, plan, arguments, made)
    except (RefusedByDevice, DeviceError, TooDear):
        raise
    except Exception as error:
        raise _blamed(plan, arguments, error) from error


def lower_in_room(
    tt: Api, carriers: Carriers, plan: Plan, arguments: dict[str, Any], room: Mapping[str, Room]
) -> list[tuple[Value, int | None]] | None:
    """The outputs of the plan's lowering for arguments with spare room; None if it cannot work on these.

    With each goes the dimension in which it has more rows than the output; None if it has as many.
    """
    try:
        made = plan.in_room.lowering(tt, room, **arguments)  # type: ignore[union-attr]
        if made is None:
            return None
        results = list(made) if isinstance(made, (list, tuple)) else [made]
        return [_with_room(tt, carriers, plan, value, meta) for value, meta in zip(results, plan.outputs, strict=True)]
    except (RefusedByDevice, DeviceError, TooDear):
        raise
    except Exception as error:
        raise _blamed(plan, arguments, error, plan.in_room.lowering) from error  # type: ignore[union-attr]


def _with_room(tt: Api, carriers: Carriers, plan: Plan, value: Any, meta: Meta) -> tuple[Value, int | None]:
    if callable(value):
        return partial(_finish_later, tt, carriers, plan, value, meta), None
    shape = tuple(value.shape)
    longer = [d for d, (have, own) in enumerate(zip(shape, meta.shape, strict=True)) if have > own]
    if len(longer) != 1:
        return _finish(tt, carriers, plan, value, meta), None
    return _finish(tt, carriers, plan, value, stretched(meta, longer[0], shape[longer[0]])), longer[0]


def _finish_later(tt: Api, carriers: Carriers, plan: Plan, make: Callable[[], Value], meta: Meta) -> Value:
    return _finish(tt, carriers, plan, make(), meta)


def _finished(tt: Api, carriers: Carriers, plan: Plan, arguments: dict[str, Any], made: Any) -> list[Value]:
    is_list = isinstance(made, (list, tuple))
    made = list(made) if is_list else [made]
    if len(made) != len(plan.outputs):
        raise ValueError(f"it returned {len(made)} tensors where the op has {len(plan.outputs)}")
    seen = plan.as_made or [False] * len(made)
    finished = []
    for value, meta, as_made in zip(made, plan.outputs, seen, strict=True):
        if as_made:
            finished.append(value)
        elif callable(value):
            finished.append(partial(_later, tt, carriers, plan, arguments, value, meta))
        else:
            finished.append(_finish(tt, carriers, plan, value, meta))
    if not plan.as_made:
        as_are = tuple(before is after for before, after in zip(made, finished, strict=True))
        plan.as_made = ONE_TENSOR if not is_list and as_are[0] else as_are
    return finished


def _later(
    tt: Api, carriers: Carriers, plan: Plan, arguments: dict[str, Any], make: Callable[[], Value], meta: Meta
) -> Value:
    try:
        return _finish(tt, carriers, plan, make(), meta)
    except (RefusedByDevice, DeviceError):
        raise
    except Exception as error:
        raise _blamed(plan, arguments, error) from error


def _blamed(
    plan: Plan, arguments: dict[str, Any], error: Exception, function: Callable[..., Any] | None = None
) -> Exception:
    """Wrap an exception that a lowering raised, so that it names the lowering at fault."""
    assert plan.entry is not None
    function = function or plan.entry.function
    assert function is not None
    where = f"the lowering {plan.entry.module}.{function.__name__} of {plan.entry.op}"
    if isinstance(error, ValidationError):
        return ValidationError(f"{error} (in {where})")
    shown = ", ".join(f"{name}={_describe(value)}" for name, value in arguments.items())
    return LoweringError(
        f"{where} failed: {type(error).__name__}: {error}\n"
        f"called with {shown}; the outputs should be {', '.join(map(str, plan.outputs))}"
    )


def _finish_image(tt: Api, carriers: Carriers, plan: Plan, image: Image, meta: Meta) -> Image:
    if image.shape != meta.shape:
        raise ValueError(f"it returned an image of {list(image.shape)} for an output {meta}")
    shape = rows(meta.shape) if image.folded else unfolded(meta.shape)
    value = _finish(tt, carriers, plan, image.value, in_rows(meta.dtype, shape))
    plan.gives_images = True
    return image if value is image.value else Image(value, image.shape, image.folded)


def _finish(tt: Api, carriers: Carriers, plan: Plan, value: Any, meta: Meta) -> Any:
    if isinstance(value, Image):
        return _finish_image(tt, carriers, plan, value, meta)
    if (value is None) != (meta.numel == 0):
        raise ValueError(
            f"it returned {value} for an output {meta}; None is for outputs without elements, and only them"
        )
    if value is None:
        return None
    carrier = carriers[meta.dtype]
    if tuple(value.shape) != meta.shape:
        raise ValueError(f"it returned shape {list(value.shape)} for an output {meta}")
    if value.layout != tt.TILE_LAYOUT:
        value = tt.to_layout(value, tt.TILE_LAYOUT)
    dtype = ttnn_dtype_name(value)
    if dtype != carrier:
        # A result that is written into a tensor takes that tensor's dtype, as in `bfloat16.add_(float32)`. The 0 and 1
        # of a comparison are exact in every dtype. No other result may be cast here.
        if not (plan.written or plan.casts or meta.dtype is torch.bool):
            raise ValueError(f"it returned {dtype} for an output {meta}, which is carried as {carrier}")
        value = tt.typecast(value, getattr(tt, carrier))
    return value


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_describe, value))}]"
    if hasattr(value, "layout"):
        return f"{ttnn_dtype_name(value)}{list(value.shape)}"
    return repr(value)
