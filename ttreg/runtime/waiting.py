"""Lets elementwise float32 steps wait for the call that needs them, which then makes them too.

`0.5 * x` waits as what it is made from, and a sum or product of it is one ttnn call instead of two. A step that follows
waits with it; whoever else asks for the value gets it from one call. All of them round as they do on their own. Only a
call that was made before, with the same numbers, waits: ttnn compiles a program for each number in a step.
"""

from __future__ import annotations

from typing import Any

import torch

from ..costs.work import Work
from ..devices.base import RefusedByDevice, Value
from ..errors import LoweringError
from ..memory.tensor import DeviceTensor
from ..plan import Plan
from ..registry import Entry
from ..steps import Step
from .refused import raise_error
from .session import Session

_MOST_STEPS = 5


class Waiting:
    """Makes the value of a tensor that waits: `cell.lazy` of its cell."""

    def __init__(self, session: Session, plan: Plan, value: Value, steps: tuple[Step, ...]):
        self._session, self._plan = session, plan
        self.value, self.steps = value, steps

    def __call__(self) -> Value:
        session, plan = self._session, self._plan
        try:
            if len(self.steps) == 1:
                return session.lower(plan, {**plan.constants, plan.slots[0].name: self.value})[0]
            with session.device.lock:
                return session.recorder.run(_work(plan), _chained, session.tt, self.value, self.steps)
        except (RefusedByDevice, LoweringError) as failure:
            raise_error(failure, lambda: f"{plan.op}, when its result was needed")


def take_part(session: Session, plan: Plan, entry: Entry) -> bool:
    """Whether calls of the plan may wait, or make the steps of others; if they may wait, the plan gets its step."""
    steps, made = entry.steps, plan.outputs[0] if len(plan.outputs) == 1 else None
    if steps is None or made is None or plan.written or not session.may_wait or not made.ndim:
        return False
    if made.dtype is not torch.float32 or session.carriers[torch.float32] != "float32":
        return False
    if session.settings.on_device_error == "fallback":  # the host would need the arguments as they were
        return False
    if len(plan.slots) == 1 and steps.step is not None:
        plan.step = steps.step(plan.constants) if plan.slots[0].as_held else None
        return plan.step is not None
    alone = plan.constants.get("alpha", 1) == 1
    return bool(steps.of_two) and len(plan.slots) == 2 and alone and any(slot.as_held for slot in plan.slots)


def run(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any], again: bool = False) -> torch.Tensor | None:
    """The result of a call that waits, or that makes the steps for which its operands wait; None for any other.

    With `again`, the call is known to come again with the same numbers.
    """
    if (plan.count < 2 and not again) or plan.of_kept or session.checker is not None:  # what is kept costs nothing
        return None
    if plan.step is None:
        return _joined(session, plan, args, kwargs)
    before = _so_far(plan.slots[0].of(args, kwargs))
    if before is None or len(before[1]) == _MOST_STEPS:
        return None
    value, steps = before
    return session.new_tensor(plan.outputs[0], Waiting(session, plan, value, (*steps, plan.step)), plan)


def _joined(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> torch.Tensor | None:
    for slot in plan.slots:
        tensor = slot.of(args, kwargs)
        if type(tensor) is DeviceTensor and type(tensor._cell.lazy) is Waiting:
            break
    else:
        return None
    operands: dict[str, tuple[Value, tuple[Step, ...]]] = {}
    for slot in plan.slots:
        tensor = slot.of(args, kwargs)
        found = _so_far(tensor) if slot.as_held else None
        if found is None:
            if plan.of_images is not None or tensor.dtype is not torch.float32 or not tensor.ndim:
                return None
            try:
                found = slot.arrival.value(session, tensor), ()
            except RefusedByDevice:  # each call by itself tells what is wrong
                return None
        operands[slot.name] = found
    assert plan.entry is not None
    assert plan.entry.steps is not None
    call = session.tt, plan.entry.steps.of_two, *operands["self"], *operands["other"]
    try:
        with session.device.lock:
            value = session.recorder.run(_work(plan), _with_steps, *call)
    except RefusedByDevice:  # as above
        return None
    return session.new_tensor(plan.outputs[0], value, plan)


def _so_far(tensor: DeviceTensor) -> tuple[Value, tuple[Step, ...]] | None:
    """The tensor's value and no steps, or that of which it is made and the steps to it; None if neither is at hand."""
    cell, meta = tensor._cell, tensor._meta
    lazy: Any = cell.lazy  # another thread may make it meanwhile
    if type(lazy) is Waiting and meta is cell.root:
        return lazy.value, lazy.steps
    value = cell.values.get(meta)
    return None if value is None else (value, ())


def _chained(tt: Any, value: Value, steps: tuple[Step, ...]) -> Value:
    return tt.unary_chain(value, _named(tt, steps))


def _with_steps(tt: Any, name: str, a: Value, a_steps: tuple[Step, ...], b: Value, b_steps: tuple[Step, ...]) -> Value:
    given = {"input_tensor_a_activations": a_steps, "input_tensor_b_activations": b_steps}
    return getattr(tt, name)(a, b, **{key: _named(tt, steps) for key, steps in given.items() if steps})


def _named(tt: Any, steps: tuple[Step, ...]) -> list[Any]:
    return [tt.UnaryWithParam(getattr(tt.UnaryOpType, name), *numbers) for name, *numbers in steps]


def _work(plan: Plan) -> Work:
    if plan.work is None:
        plan.work = Work(str(plan.op))
        plan.works.append(plan.work)
    return plan.work
