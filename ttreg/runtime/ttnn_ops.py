"""Ops whose lowerings are functions of the program, written in ttnn: their plans, and how a session runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from ..devices.redirect import handed_to
from ..memory.tensor import metadata_of
from ..meta import Meta, dtype_name
from ..plan import Plan
from ..pytorch_private import OpOverload
from ..refusal import EMPTY, Refusal
from ..registry import Entry
from .asked import Asked
from .given import as_held, torch_dtype
from .session import Session

DTYPES = Refusal("every tensor has a ttnn dtype")


@dataclass(eq=False)
class TtnnOp:
    """An op of the program. Its results are new tensors; or, with `like`, gradients of the arguments of these names."""

    function: Callable[..., Any]
    outputs: int = 1
    like: tuple[str, ...] = ()
    has_host: bool = False  # whether it has a function that does the same on the host


TTNN_OPS: dict[OpOverload, TtnnOp] = {}


def plan_of(asked: Asked, plan: Plan) -> Plan:
    """Fill in the plan of a call of such an op. Its first run finds out what the results are like."""
    session, op = asked.session, TTNN_OPS[asked.op]
    tensors = {slot.name: slot.tensors(asked.args, asked.kwargs) for slot in plan.slots}
    given = {name: [metadata_of(tensor) for tensor in held] for name, held in tensors.items()}
    plan.refusal = _refusal(session, [meta for metas in given.values() for meta in metas])
    if plan.refusal is not None or session.device.name == "none":
        if not op.has_host:
            why = plan.refusal or "without a device, only a function for the host can tell what it returns"
            raise ValueError(f"{asked.op} needs `host=`, a function that does the same in PyTorch, for this: {why}")
        outputs = asked.outputs.metas
        if plan.refusal is not None or outputs is None:
            return plan
        plan.outputs = outputs
    plan.placement = "device"
    plan.returns_list = (len(op.like) or op.outputs) != 1
    function = _lowering(session, op, plan, given, tuple(asked.bound))
    plan.entry = Entry(asked.op, "device", (), _no_samples, function, module=getattr(op.function, "__module__", ""))
    return plan


def _lowering(
    session: Session, op: TtnnOp, plan: Plan, given: dict[str, list[Meta]], names: tuple[str, ...]
) -> Callable[..., Any]:
    """The function as a lowering, which tells the plan what its results are like."""
    floating = (meta.dtype for metas in given.values() for meta in metas if meta.dtype.is_floating_point)
    dtypes = tuple(dict.fromkeys(floating))
    wanted = [given.get(name, [None])[0] for name in op.like]
    expected = len(op.like) or op.outputs

    @wraps(op.function)
    def lowering(tt: Any, **arguments: Any) -> Any:
        with handed_to(tt._ttnn):
            # A function of gradients may name its parameters as it likes.
            made = op.function(*(arguments[name] for name in names)) if op.like else op.function(**arguments)
        values = list(made) if isinstance(made, (list, tuple)) else [made]
        if len(values) != expected:
            raise ValueError(f"it returned {len(values)} values where {expected} were expected")
        finished = []
        for value, like in zip(values, wanted or [None] * expected, strict=True):
            if value is not None:
                dtype = like.dtype if like is not None else torch_dtype(session, value, dtypes)
                finished.append(as_held(session, value, dtype))
                if like is not None and finished[-1][0].shape != like.shape:
                    raise ValueError(f"the gradient of {like} has the shape {list(value.shape)}")
        plan.outputs = [meta for meta, _ in finished]
        plan.absent = tuple(place for place, value in enumerate(values) if value is None)
        held = [value for _, value in finished]
        return held if plan.returns_list else held[0]

    return lowering


def _refusal(session: Session, metas: list[Meta]) -> Refusal | None:
    odd = next((meta.dtype for meta in metas if meta.dtype not in session.carriers), None)
    if odd is not None:
        return DTYPES.with_got(dtype_name(odd))
    return None if all(meta.numel for meta in metas) else EMPTY


def _no_samples() -> tuple[()]:
    return ()
