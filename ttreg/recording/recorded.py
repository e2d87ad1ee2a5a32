"""A function that is recorded at its first call of each signature, and replayed afterwards."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial, update_wrapper
from typing import Any, Protocol

import torch

from ..forks import new_lock, new_rlock
from ..memory.reads import of_thread
from ..modes import BlockMode, modes_here, overrides_are_active, without_modes
from ..pytorch_private import in_forward_ad
from ..runtime.session import Session
from .arguments import Arguments
from .before import Before, python_draws
from .capture import capture_of, release_of, why_never
from .compare import difference
from .counts import Counts
from .dispatcher import AsRecorded, RecordingDispatcher
from .externals import Externals
from .here import here, line_of
from .optimizers import followed
from .plain_reads import plain_reads
from .program import compiled
from .reach import Reach
from .results import found
from .shared import without_repeats
from .state import State
from .tape import Tape
from .taped import taped
from .variant import Path, Variant
from .variants import MOST_VARIANTS, Variants
from .words import Miss

MOST_PATHS, _TRIES, _MOST_RECORDED, _MOST_KNOWN = 16, 3, 48, 64

_locks: weakref.WeakKeyDictionary[Session, Any] = weakref.WeakKeyDictionary()  # held while a call is recorded

# A first call may make what later ones find, such as the state of an optimizer.
_SETTLES = "it changes what no replay would change: "


class Enter(Protocol):
    """Hands a thread's calls to a session, through a dispatcher of a kind, until the stack is closed."""

    def __call__(self, stack: ExitStack, session: Session, kind: Callable[..., Any]) -> None: ...


class Recorded:
    """What `session.record(function)` gives. A call that cannot be replayed runs as the function itself does."""

    def __init__(
        self,
        session: Session,
        function: Callable[..., Any],
        enter: Enter,
        check_every: int | None = None,
        reached: Sequence[tuple[str, Any]] | None = None,
        evicts: bool = True,
        trace: bool = False,
    ):
        """Without `reached`, it is looked up what the function reaches; without `evicts`, old recordings stay."""
        update_wrapper(self, function, updated=())
        self.session, self.function, self.check_every = session, function, check_every
        self.counts = Counts(getattr(function, "__qualname__", type(function).__name__), line_of(function))
        session.counts_of_recorded.append(self.counts)
        # Whether ttnn looks at each call, which a replay makes without what is around ttnn's functions.
        self._ttnn_sees: Callable[[], bool] = getattr(getattr(session.device, "tt", None), "sees_calls", bool)
        self._enter, self._lock, self._evicts = enter, new_rlock(), evicts
        self._reached = ((self.counts.name, function),) if reached is None else tuple(reached)
        why_not = why_never(session) if trace else ""
        self._traces = trace and not why_not
        if why_not:
            self.counts.untraced_for(why_not)
        self._variants = Variants(self.counts)
        self._given_up: dict[Any, str] = {}
        self._tries: dict[Any, int] = {}
        self._changes: set[int] = set()  # ids of weights that change between calls
        self._numbers: set[str] = set()  # the numbers of optimizers' groups that have changed between calls
        self._busy = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if of_thread.reader is not None:  # part of what an outer function records
            return self.function(*args, **kwargs)
        reason = self._not_now()
        if reason:
            return self._eagerly(reason, args, kwargs)
        with self._lock:
            if self._busy:  # the function calls itself
                return self.function(*args, **kwargs)
            self._busy = True
            try:
                return self._call(args, kwargs)
            finally:
                self._busy = False

    def _not_now(self) -> str:
        """Why no call can be recorded or replayed here and now; empty if one can."""
        session = self.session
        if session.closed or session.inherited:
            return "its session has ended"
        if session.lost is not None:
            return "the session's device answers no more"
        modes = modes_here()
        if not modes or not isinstance(modes[-1], BlockMode) or getattr(modes[-1], "session", None) is not session:
            return "the call is not in a block of its session, or another mode sees the calls"
        if len(modes) > 1 and not all(isinstance(mode, BlockMode) for mode in modes):
            return "another mode sees the calls"
        if overrides_are_active() or in_forward_ad():
            return "a mode overrides functions"
        if session.checker is not None or session.settings.trace is not None:
            return "check= and trace= look at each call"
        if self._ttnn_sees():
            return "ttnn logs, compares or traces each call"
        return ""

    def _eagerly(self, reason: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        self.counts.eager(reason)
        return self.function(*args, **kwargs)

    def _call(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        arguments = Arguments(self.session, args, kwargs)
        if arguments.refusal:
            return self._eagerly(arguments.refusal, args, kwargs)
        key = arguments.key
        if self._given_up and key in self._given_up:
            return self._eagerly(self._given_up[key], args, kwargs)
        variant = self._variants.find(key)
        if variant is not None:
            return self._replay(variant, arguments, args, kwargs)
        return self._record(arguments, args, kwargs)

    def _drop(self, key: Any, variant: Variant, changed: str) -> None:
        """Forget a recording that cannot hold again. Weights that changed are uploaded at each replay from now on."""
        self.counts.missed(f"changed since the recording: {changed}")
        self._variants.drop(key)
        self._changes.update(id(weight) for _, weight in variant.weights.changed())
        self._numbers.update(number for _, number in variant.reach.changed_numbers())

    def _replay(self, variant: Variant, arguments: Arguments, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The result of a replay, or of the function itself where the recording does not hold."""
        session, tensors = self.session, arguments.tensors
        state = failure = None
        with without_modes():
            changed = variant.changed(arguments)
            if not changed:
                state = torch.get_rng_state() if any(path.draws for path in variant.paths) else None
                try:
                    path, registers = variant.run(session, tensors)
                    check = not path.checked or (self.check_every and path.replays % self.check_every == 0)
                    if not check:
                        with session.device.lock:
                            result, gradients = path.results.make(session, registers, tensors)
                        path.results.may_commit(tensors)
                except Exception as error:
                    failure = error
                else:
                    if not check:
                        self._commit(path, registers, tensors, gradients)
                        return result
        if changed:
            self._drop(arguments.key, variant, changed)
            return self._record(arguments, args, kwargs)
        if state is not None:
            torch.set_rng_state(state)
        if failure is not None:
            return self._missed(failure, variant, arguments, args, kwargs)
        return self._checked(path, registers, arguments, args, kwargs)

    def _missed(
        self, failure: Exception, variant: Variant, arguments: Arguments, args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """The function's own result, since a replay has failed; it is recorded if it may be another path."""
        is_miss = isinstance(failure, Miss)
        self.counts.missed(str(failure) if is_miss else f"{type(failure).__name__}: {failure}".partition("\n")[0])
        if is_miss and len(variant.paths) < MOST_PATHS:
            return self._record(arguments, args, kwargs, variant)
        if is_miss and self.counts.misses.total() > 2 * max(self.counts.replays, MOST_PATHS):
            self._variants.drop(arguments.key)
            self._give_up(arguments.key, f"it sees too many different values: {failure}")
        return self.function(*args, **kwargs)

    def _commit(self, path: Path, registers: list[Any], tensors: list[Any], gradients: list[Any]) -> None:
        with self.session.device.lock:
            path.results.commit(registers, tensors)
            for owner, gradient in gradients:
                owner.grad = gradient
        path.replays += 1
        self.counts.replayed(path.program.calls)

    def _checked(
        self, path: Path, registers: list[Any], arguments: Arguments, args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """The function's own result, with which the replay is compared."""
        with ExitStack() as stack:
            self._enter(stack, self.session, AsRecorded)
            result = self.function(*args, **kwargs)
        what = difference(self.session, path.results, registers, arguments.tensors, result)
        path.replays += 1
        if what:
            self._variants.drop(arguments.key)
            self._give_up(arguments.key, f"a replay differed from the function's own run: {what}")
        else:
            path.checked = True
            self.counts.checked()
        return result

    def _give_up(self, key: Any, reason: str) -> None:
        self._given_up[key] = reason
        self.counts.refused(reason)
        self._tries.pop(key, None)
        _bounded(self._given_up)

    def _record(self, arguments: Arguments, args: tuple, kwargs: dict[str, Any], variant: Variant | None = None) -> Any:
        """As `_recorded`, unless another thread records in the session, or calls are too different from each other."""
        if self.counts.paths > _MOST_RECORDED and self.counts.paths > 2 * self.counts.replays:
            return self._eagerly(
                "its calls are too different from each other, so that no more are recorded", args, kwargs
            )
        if variant is None and not self._evicts and len(self._variants) >= MOST_VARIANTS:
            return self._eagerly(f"there are {MOST_VARIANTS} recordings, for other sizes", args, kwargs)
        recording = _locks.setdefault(self.session, new_lock())
        if not recording.acquire(blocking=False):
            return self._eagerly("another thread records in the session", args, kwargs)
        try:
            return self._recorded(arguments, args, kwargs, variant)
        finally:
            recording.release()

    def _recorded(
        self, arguments: Arguments, args: tuple, kwargs: dict[str, Any], variant: Variant | None = None
    ) -> Any:
        """Run the function, and keep what it does as a recording, if that is possible."""
        key = arguments.key
        reach = Reach([*self._reached, *(("an argument", value) for value in arguments.objects)])
        state = State(tensor for _, tensor in reach.tensors)
        if state.shares_memory(arguments):
            self._give_up(key, "an argument shares memory with a tensor that the function reaches otherwise")
            return self.function(*args, **kwargs)
        externals = Externals(arguments.tensors, reach.tensors, self._changes)
        tape = Tape(self.session, externals, here)
        kind = partial(RecordingDispatcher, tape=tape)
        before = Before(externals)
        with ExitStack() as stack:
            stack.enter_context(taped(self.session, tape))
            self._enter(stack, self.session, kind)
            with plain_reads(), followed(tape, reach, self._numbers):
                result = self.function(*args, **kwargs)
            with without_modes():
                reason = self._objection(tape, reach, state, before)
                results = found(tape, result, arguments.tensors, before.gradients) if not reason else None
        self._changes |= before.written()
        reason = reason or tape.failed or ""
        if reason or results is None:
            self._tries[key] = self._tries.get(key, 0) + 1
            _bounded(self._tries)
            if not (tape.may_succeed or reason.startswith(_SETTLES)) or self._tries[key] >= _TRIES:
                self._give_up(key, reason)
            return result
        tape.events = without_repeats(tape.events, results.refs, tape.fixed())
        path = Path(compiled(tape.events, results.refs, tape.registers), results, tape.draws)
        if self._traces:
            path.capture = capture_of(self.session, tape, results, self.counts)
        release_of(self.session)  # the constants of this recording came later
        tape.forget()
        externals.forget_arguments()
        if variant is not None:
            variant.add(path, externals.all, reach)
            self._variants.make_room(variant)
            self.counts.recorded(len(path.program.segments), new=False)
            return result
        self.counts.recorded(len(path.program.segments), new=True)
        self._variants.add(key, Variant(reach, state, externals.all, path))
        return result

    def _objection(self, tape: Tape, reach: Reach, state: State, before: Before) -> str:
        """Why a call that has run cannot be recorded."""
        if tape.failed is not None:
            return tape.failed
        if reach.unguarded:
            return f"no guard can check it: {reach.unguarded}"
        if before.python != python_draws():
            return "it draws numbers from Python's or NumPy's generator"
        if not tape.draws and not torch.equal(before.state, torch.get_rng_state()):
            return "it seeds the random generator"
        changed = reach.changed() or state.moved()
        return f"{_SETTLES}{changed}" if changed else ""


def _bounded(kept: dict[Any, Any]) -> None:
    """Forget the oldest of what is known of signatures without a recording."""
    if len(kept) > _MOST_KNOWN:
        del kept[next(iter(kept))]
