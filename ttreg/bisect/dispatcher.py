"""Runs each call three times: for the program, in the reference, and on the device with the reference's inputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch

from ..conditions import Refusal
from ..plan import Plan
from ..pytorch_private import OpOverload, tree_map_only
from ..runtime.dispatch import Dispatcher
from .calls import computes, tensors_in, unseen, written_to
from .pairs import Pair
from .shadows import followed
from .side_by_side import SideBySide


class SideBySideDispatcher(Dispatcher):
    """Dispatches the calls of a `SideBySide`."""

    session: SideBySide

    def __init__(self, session: SideBySide, reenter: Callable[[], AbstractContextManager[Any]]):
        super().__init__(session, reenter)
        self._alone = Dispatcher(session, reenter)  # which itself makes calls that are not the program's
        self._is_alone = False
        for placement in ("device", "host", "local"):
            self._runs[placement] = partial(self._run_compared, self._runs[placement])
        self._instead = False

    def _run_compared(self, run: Callable[..., Any], plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self._is_alone or not computes(plan.op):
            return run(plan, args, kwargs)
        self._note_weights(plan, args, kwargs)
        outer, self._instead = self._instead, False
        try:
            pair = Pair(self.session, plan, args, kwargs, self.alone)
            result = run(plan, args, kwargs)
            pair.compare(result, "host" if self._instead else plan.placement)
        finally:
            self._instead = outer
        return result

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        self._instead = True
        return super()._run_on_host_instead(plan, refusal, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        run, session = super()._pass_through, self.session
        given = tensors_in((args, kwargs))
        if all(map(followed, given)):  # but for a conjugation that is left for later
            return self._run_compared(lambda plan, *call: run(op, *call), Plan(op, "host"), args, kwargs)
        with unseen():
            cut = any(followed(tensor) and session.shadows.find(tensor) is not None for tensor in given)
        result = run(op, args, kwargs)
        if cut:
            session.differs(f"{op} is given tensors that cannot be followed, and its results are taken as they are")
            with unseen():
                for tensor in filter(followed, written_to(op, args, kwargs)):
                    session.shadows.drop(tensor)
        return result

    def alone(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run a call in the session that is not one of the program's."""
        args, kwargs = tree_map_only(torch.Generator, torch.Generator.clone_state, (args, kwargs))
        self._is_alone = True
        try:
            with torch.random.fork_rng(devices=[]):
                return self._alone.dispatch(op, args, kwargs)
        finally:
            self._is_alone = False

    def _note_weights(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> None:
        for slot in plan.slots:
            if slot.arrival.block_float and plan.placement == "device":
                for tensor in slot.tensors(args, kwargs):
                    weight = tensor if tensor._base is None else tensor._base
                    if isinstance(weight, torch.nn.Parameter):
                        self.session.findings.weights[id(weight)] = weight, self.session.carriers[tensor.dtype]
