"""Runs each call that reaches `device_mode` where its plan says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import profiler
from torch.profiler import record_function

from ..call import Call
from ..conditions import Refusal
from ..costs.programs import users_line
from ..devices.base import RefusedByDevice, Value
from ..errors import LoweringError, TtregError
from ..exact.cost import TooDear
from ..fallback import decompose, host
from ..memory.chains import view_by
from ..memory.numbers import Numbers
from ..memory.tensor import DeviceTensor
from ..plan import Plan
from ..pytorch_private import OpOverload
from ..refusal import HOST_MEMORY, INDEX_OUT_OF_RANGE, NO_META, OUT_OF_BOUNDS, OVERLAPPING, PART_WRITTEN, TOO_LARGE
from . import matrices, rooms, waiting
from .complaints import complain
from .decide import decide
from .host_writes import bring_down, shares_memory
from .int64 import TooLarge
from .later import Later, raise_as_pytorch_would
from .leading import shown, with_leading
from .lowering import ONE_TENSOR
from .overlaps import copies_itself, overlapping
from .refused import raise_error, reason
from .session import Session
from .signature import signature
from .varying import Varying

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

DETACH = torch.ops.aten.detach.default


class Dispatcher:
    """Dispatches the calls of one session; `reenter` enters the mode for the parts of a decomposed op."""

    def __init__(self, session: Session, reenter: Callable[[], AbstractContextManager[Any]]):
        self.session = session
        self.reenter = reenter
        self._run_as_held = partial(self._run_on_device, with_room=False)
        self._varying = Varying(session, self._planned, self._run_as_held)
        self._complains = session.settings.on_fallback != "allow"
        self._runs = {
            "device": self._run_on_device,
            "host": self._run_on_host,
            "local": self._run_on_host,
            "view": self._run_view,
            "decomposed": self._run_decomposed,
        }

    def dispatch(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run one call where its plan says."""
        key = signature(self.session, op, args, kwargs)
        if key is None:
            return self._pass_through(op, args, kwargs)
        plan = self.session.ledger.find(key) or self._decide(key, op, args, kwargs)
        plan.count += 1
        start = perf_counter()
        run = self._run_profiled if profiler._is_profiler_enabled else self._runs[plan.placement]
        result = run(plan, args, kwargs)
        if plan.placement != "decomposed":  # each part measures its own time
            seconds = perf_counter() - start
            plan.seconds += seconds  # one statement, since other threads may add to it too
        return result

    def _decide(self, key: tuple, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Plan:
        """Decide a call, and keep the decision."""
        while True:
            plan = decide(self.session, op, args, kwargs)
            plan.as_it_is, plan.line = host.runs_as_it_is(plan), users_line()
            now = signature(self.session, op, args, kwargs)
            if now == key or now is None:
                return self.session.ledger.keep(key, plan)
            key = now  # another thread pinned a tensor meanwhile, and the plan may be of either state

    def _run_profiled(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        with record_function(f"ttreg::{plan.placement} {plan.op}"):
            return self._runs[plan.placement](plan, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        return host.pass_through(self.session, op, args, kwargs)

    def _run_on_host(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self._complains and plan.host_float and plan.refusal is not None:
            if plan.refusal is NO_META:
                raise_as_pytorch_would(self.session, plan, args, kwargs)
            complain(self.session.settings, plan.op, plan.refusal, lambda: str(Call.bind(plan.op, args, kwargs)))
        return plan.op(*args, **kwargs) if plan.as_it_is else host.run(self.session, plan, args, kwargs)

    def _run_decomposed(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        try:
            with self.reenter():
                return decompose.run(plan.op, args, kwargs)
        except TtregError:
            raise
        except Exception:
            # Decompositions that are written in Python raise other exceptions than the op.
            raise_as_pytorch_would(self.session, plan, args, kwargs)
            raise

    def _run_view(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        source = plan.slots[0].of(args, kwargs)
        if not isinstance(source, DeviceTensor):
            return plan.op(*args, **kwargs)
        if plan.view_form is not None:
            source.become(self.dispatch(plan.view_form, args, kwargs))
            return source
        if plan.view_end > source._cell.nbytes:
            return self._run_on_host_instead(plan, OUT_OF_BOUNDS, args, kwargs)
        view = view_by(plan, source._meta, source._view)
        detached = plan.op is DETACH
        results = [DeviceTensor.view_of(source, meta, view, detached) for meta in plan.outputs]
        return results if plan.returns_list else results[0]

    def _run_on_device(self, plan: Plan, args: tuple, kwargs: dict[str, Any], with_room: bool = True) -> Any:
        session = self.session
        if plan.waits and with_room and not plan.may_be_longer:
            made = waiting.run(session, plan, args, kwargs)
            if made is not None:
                return made
        if plan.may_be_longer and with_room:
            return self._run_with_room(plan, args, kwargs)
        if plan.written:
            if copies_itself(plan, args, kwargs) or (plan.number is not None and self._filled(plan, args, kwargs)):
                return plan.targets(args, kwargs)[0]
            takes_part = not plan.writes_part or _takes_part(*plan.targets(args, kwargs))
            if shares_memory(plan, args, kwargs) if plan.comes_down else overlapping(plan, args, kwargs):
                return self._run_on_host_instead(plan, OVERLAPPING, args, kwargs)
            if not takes_part:
                return self._run_on_host_instead(plan, PART_WRITTEN, args, kwargs)
        values, of_images, lowered = None, plan.of_images, plan
        try:
            arguments = plan.constants.copy()
            for slot in plan.slots:
                where = slot.where
                argument = args[where] if isinstance(where, int) else kwargs[where]
                value = None
                if slot.as_held:
                    held = type(argument) is DeviceTensor
                    value = argument._cell.values.get(argument._meta) if held else _all_at_hand(argument)
                if value is None:
                    if of_images is not None:
                        instead = of_images.plan(session, args, kwargs)
                        if instead is not None:
                            return self._run_on_device(instead, args, kwargs, with_room)
                        of_images = None  # asked once
                    if slot.leading and session.checker is None:
                        value, lowered = with_leading(plan, argument)
                    if value is None:
                        value = slot.arrival.value(session, argument)
                    if value is None and slot.arrival.checked:
                        break
                arguments[slot.name] = value
            else:
                values = session.lower(lowered, arguments)
                if lowered.as_made is not ONE_TENSOR and not all(lowered.as_made) and any(map(callable, values)):
                    values = self._with_later_ones(plan, arguments, values, args, kwargs)
        except TooLarge:
            return self._run_on_host_instead(plan, TOO_LARGE, args, kwargs)
        except TooDear as found:
            return self._run_on_host_instead(plan, found.refusal, args, kwargs)
        except (RefusedByDevice, LoweringError) as failure:
            if session.settings.on_device_error == "fallback":
                return self._run_on_host_instead(plan, reason(failure), args, kwargs)
            (plan.counted_by or plan).count -= 1
            raise_as_pytorch_would(self.session, plan, args, kwargs, failure)
            raise_error(failure, lambda: str(Call.bind(plan.op, args, kwargs)))
        if values is None:
            return self._run_on_host_instead(plan, INDEX_OUT_OF_RANGE, args, kwargs)
        if session.checker is not None:
            values = session.checker.compare(session, plan, arguments, values, args, kwargs)
        results = self._results(lowered, values, args, kwargs)
        return results if lowered is plan else shown(results, plan.outputs[0])

    def _run_with_room(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run a call whose arguments may be held longer than they are, or are to be; or as matrices."""
        if plan.matrix is not None:
            return self._run_on_matrices(plan, args, kwargs)
        if plan.apart is not None and not (plan.written and overlapping(plan, args, kwargs)):
            result = self._varying.run(plan, args, kwargs)
            if result is not None:
                return result
        if plan.in_room is None:
            return self._run_as_held(plan, args, kwargs)
        return rooms.run(self.session, plan, args, kwargs, self._run_as_held)

    def _run_on_matrices(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        if plan.of_images is not None and plan.of_images.plan(self.session, args, kwargs) is not None:
            return self._run_as_held(plan, args, kwargs)  # images fill their tiles
        result = matrices.run(plan, args, kwargs, self._planned, self._run_as_held)
        if result is not None:
            return result
        if plan.too_large is not None:
            return self._run_on_host_instead(plan, plan.too_large, args, kwargs)
        return self._run_as_held(plan, args, kwargs)

    def _planned(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Plan | None:
        key = signature(self.session, op, args, kwargs)
        return None if key is None else self.session.ledger.find(key) or self._decide(key, op, args, kwargs)

    def _with_later_ones(
        self, plan: Plan, arguments: dict[str, Any], values: list[Value], args: tuple, kwargs: dict[str, Any]
    ) -> list[Value]:
        """The outputs' values. A function for a later output is called now if the op writes the output."""
        later = Later(self.session, plan, arguments, args, kwargs)
        made = later.make
        if plan.written:  # make every value before the first write
            return [made(n, value) if callable(value) else value for n, value in enumerate(values)]
        lazy = [partial(made, n, value) if callable(value) else value for n, value in enumerate(values)]
        if plan.number is None:
            return lazy
        return [Numbers(plan.outputs[0], plan.number, lazy[0], self.session.of_numbers)]

    def _filled(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> bool:
        """Fill the target, or a part of it, where its content is made of numbers alone; whether it is."""
        target: Any = plan.targets(args, kwargs)[0]
        with self.session.device.lock:
            numbers = target._cell.lazy
            return isinstance(numbers, Numbers) and numbers.fill(target._meta, plan.number)

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run on the host a call that was planned for the device. Its signature does not show the reason."""
        plan = plan.counted_by or plan
        plan.count -= 1
        if self.session.settings.on_fallback == "raise":
            raise_as_pytorch_would(self.session, plan, args, kwargs)
        self.session.fell_back(plan.op, refusal, plan.floating, lambda: str(Call.bind(plan.op, args, kwargs)))
        return host.run(self.session, plan, args, kwargs)

    def _results(self, plan: Plan, values: list[Value], args: tuple, kwargs: dict[str, Any]) -> Any:
        if plan.written:
            return self._written(plan, values, args, kwargs)
        new_tensor = self.session.new_image if plan.gives_images else self.session.new_tensor
        if not plan.returns_list:
            return new_tensor(plan.outputs[0], values[0], plan)
        results: list[Any] = [new_tensor(meta, value, plan) for meta, value in zip(plan.outputs, values, strict=True)]
        for place in plan.absent:
            results.insert(place, None)
        return tuple(results)

    def _written(self, plan: Plan, values: list[Value], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Write the values to the call's targets, and return the targets.

        Since the call was decided, another thread may have moved a target to the host and written to it. Then the
        values are out of date, and the host runs this call and the ones that follow.
        """
        targets: list[Any] = plan.targets(args, kwargs)
        part = plan.writes_part
        if plan.comes_down:
            bring_down(self.session, values[0], targets[0])
            return targets[0]
        with self.session.device.lock:
            if all(target._cell.may_write(target._meta, part) for target in targets):
                for target, value in zip(targets, values, strict=True):
                    if part:
                        target._cell.device_write_part(target._meta, value)
                    else:
                        target._cell.device_write(target._meta, value)
                        target._view = None
                return tuple(targets) if plan.returns_list else targets[0]
        return self._run_on_host_instead(plan, HOST_MEMORY, args, kwargs)


def _all_at_hand(argument: Any) -> list[Value] | None:
    """The device values of a list of tensors that the session holds; None if one is not made yet."""
    values = [tensor._cell.values.get(tensor._meta) for tensor in argument]
    return None if any(value is None for value in values) else values


def _takes_part(target: Any) -> bool:
    return target._cell.takes_part(target._meta)
