"""Dispatches the calls of a function that is recorded: as usual, and with each step on a tape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..conditions import Refusal
from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from ..meta import Meta, is_plain, meta_of
from ..plan import Plan
from ..pytorch_private import OpOverload, tree_leaves, tree_map
from ..runtime import waiting
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..schema import argument_names, functional_form
from .ambient import ambient
from .steps import fresh, host_step, number_step, reading_step
from .tape import Tape
from .words import outcome_of

_COPY = torch.ops.aten.copy_.default
_LIFT = torch.ops.aten.lift_fresh.default
_RANDOM, _SHAPES = torch.Tag.nondeterministic_seeded, torch.Tag.dynamic_output_shape


class AsRecorded(Dispatcher):
    """Makes the calls of a function as a recording does: without spare room, in which sums would round differently."""

    def _run_on_device(self, plan: Plan, args: tuple, kwargs: dict[str, Any], with_room: bool = True) -> Any:
        return super()._run_on_device(plan, args, kwargs, with_room=False)


class RecordingDispatcher(Dispatcher):
    """Puts the calls of one function call on a tape."""

    def __init__(self, session: Session, reenter: Callable[[], AbstractContextManager[Any]], tape: Tape):
        super().__init__(session, reenter)
        self._tape, self._ambient = tape, ambient()

    def dispatch(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run one call where its plan says."""
        self._tape.in_calls += 1
        try:
            return self._dispatch(op, args, kwargs)
        finally:
            self._tape.in_calls -= 1

    def _dispatch(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        tape = self._tape
        if op.namespace == "profiler":  # it marks ranges of time
            with tape.paused():
                return super().dispatch(op, args, kwargs)
        if tape.on():
            if op is _LIFT and type(args[0]) is torch.Tensor and is_plain(args[0]):
                self._lift(args[0])
            for value in tree_leaves((args, kwargs)):
                if type(value) is DeviceTensor:
                    tape.meet(value)
                elif isinstance(value, torch.Generator):
                    tape.fail(f"{op} draws from a generator of its own")
        return super().dispatch(op, args, kwargs)

    def _lift(self, plain: torch.Tensor) -> None:
        """Note a tensor that the program made of numbers."""
        storage = storage_of(plain)
        if self._tape.externals.of_storage(storage) is None:
            kept = plain.detach().clone()
            if plain.untyped_storage().nbytes() != kept.untyped_storage().nbytes():
                self._tape.fail("it makes a tensor of a part of an array")
            self._tape.keep_storage(storage, self._tape.made(fresh, kept), fixed=True)

    def _run_on_device(self, plan: Plan, args: tuple, kwargs: dict[str, Any], with_room: bool = True) -> Any:
        tape = self._tape
        if plan.comes_down and tape.on():
            return self._brought_down(plan, args, kwargs)
        if tape.on() and plan.matrix is not None and with_room:
            return self._run_on_matrices(plan, args, kwargs)
        numbers = tape.numbers
        names = [name for name, value in plan.constants.items() if numbers.is_given(value)]
        if tape.on() and plan.waits and not names and not plan.may_be_longer:
            made = waiting.run(self.session, plan, args, kwargs, again=True)
            if made is not None:
                return made
        numbers.for_lowering = (plan.op, names[0]) if len(names) == 1 else None
        try:
            return super()._run_on_device(plan, args, kwargs, with_room=with_room and not tape.on())
        finally:
            numbers.for_lowering = None

    def _run_decomposed(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        self._tape.numbers.lost = True  # the parts may take what they make of a number
        return super()._run_decomposed(plan, args, kwargs)

    def _brought_down(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What is computed for the host's memory, as two steps that a tape knows: a new tensor, and its copy."""
        target, functional = plan.targets(args, kwargs)[0], functional_form(plan.op)
        assert functional is not None  # an op that writes to one tensor has its entry by it
        named = {name: value for name, value in kwargs.items() if name in argument_names(functional)}
        self.dispatch(_COPY, (target, self.dispatch(functional, args, named)), {})
        return target

    def _run_view(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        if plan.view_form is not None and self._tape.on():
            self._tape.fail(f"{plan.op} gives a tensor another shape in place")
        return super()._run_view(plan, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self._tape.on():
            self._tape.fail(f"{op} takes a tensor of another kind, or a symbolic number")
        return super()._pass_through(op, args, kwargs)

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self._tape.on():
            self._tape.fail(f"{plan.op} runs on the host after all: {refusal}")
        return super()._run_on_host_instead(plan, refusal, args, kwargs)

    def _run_on_host(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        tape = self._tape
        if not tape.on():
            return super()._run_on_host(plan, args, kwargs)
        if ambient() != self._ambient:
            tape.fail("it changes the default dtype, autocast, or inference mode, and runs an op on the host meanwhile")
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        for tensor in given:
            if isinstance(tensor, DeviceTensor):
                tape.on_host(tensor)
        numbers = tape.numbers.found
        words = tree_map(self._word, (args, kwargs))
        targets = plan.targets(args, kwargs)
        fixed = numbers == tape.numbers.found and _RANDOM not in plan.op.tags
        fixed = fixed and tape.are_fixed(given, written=bool(targets))
        before = [self._memory(tensor) for tensor in targets]
        result = None
        with tape.paused():
            result = super()._run_on_host(plan, args, kwargs)
        if tape.on():
            if [self._memory(tensor) for tensor in targets] != before:
                tape.fail(f"{plan.op} gives a tensor other memory or another shape")
            self._note(plan, words, result, targets, fixed)
        return result

    def _word(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            numbers = self._tape.numbers
            if numbers.given is None or not numbers.is_given(value):
                return value
            numbers.found += 1
            return numbers.given.ref
        if not isinstance(value, DeviceTensor):
            return self._tape.plain(value)
        if value._cell.storage is None:  # it has just failed
            return value
        return self._tape.plain(value._meta.on_storage(value._cell.storage))

    def _memory(self, tensor: torch.Tensor) -> tuple:
        if isinstance(tensor, DeviceTensor):
            return id(tensor._cell), tensor._meta, tensor._cell.nbytes
        storage = storage_of(tensor)
        return storage._cdata, meta_of(tensor), storage.nbytes()

    def _note(self, plan: Plan, words: Any, result: Any, targets: list[torch.Tensor], fixed: bool) -> None:
        """Put an op that has run on the host on the tape."""
        tape, session = self._tape, self.session
        args, kwargs = words
        random = _RANDOM in plan.op.tags
        tape.draws = tape.draws or random
        leaves = tree_leaves(result)
        if not targets and leaves and not any(isinstance(leaf, torch.Tensor) for leaf in leaves):
            if tape.numbers.reads and type(result) is float:
                tape.numbers.read = tape.made(number_step(session, plan), args, kwargs)
            else:
                tape.read(reading_step(session, plan, outcome_of), args, kwargs, outcome=outcome_of(result))
            return
        if _SHAPES in plan.op.tags:
            tape.fail(f"the shape of what {plan.op} returns depends on values")
        metas, new = self._new(plan, leaves)
        written = self._note_written(targets, fixed)
        same = ("host", id(plan)) if not targets else None
        event = tape.add(host_step(session, plan, metas), args, kwargs, pure=not random, writes=written, same=same)
        for number, storage in enumerate(new):
            ref = tape.register()
            event.results.append((f"[{number}]", ref))
            tape.keep_storage(storage, ref, fixed)

    def _new(self, plan: Plan, leaves: list[Any]) -> tuple[list[Meta | None], list[torch.UntypedStorage]]:
        """For each result its metadata if it has a storage of its own, and these storages."""
        tape = self._tape
        metas: list[Meta | None] = []
        new: list[torch.UntypedStorage] = []
        for leaf in leaves:
            if isinstance(leaf, DeviceTensor) or leaf is None:
                metas.append(None)
            elif not isinstance(leaf, torch.Tensor) or not is_plain(leaf):
                tape.fail(f"{plan.op} returns what is no ordinary tensor")
                metas.append(None)
            elif tape.knows(storage_of(leaf)):
                metas.append(None)
            else:
                metas.append(meta_of(leaf))
                new.append(storage_of(leaf))
        if len({storage._cdata for storage in new}) != len(new):
            tape.fail(f"results of {plan.op} share memory")
        return metas, new

    def _note_written(self, targets: list[torch.Tensor], fixed: bool) -> tuple:
        tape, found = self._tape, []
        for target in targets:
            storage = target._cell.storage if isinstance(target, DeviceTensor) else storage_of(target)
            if storage is None:
                continue
            ref = tape.knows(storage)
            if ref is not None:
                found.append(ref)
                if not fixed:
                    tape.keep_storage(storage, ref)
            tape.wrote(storage)
        return tuple(found)
