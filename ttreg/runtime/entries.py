"""The entries as one session has them: the registry's, and what the session was told to do otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar

from ..conditions import FLOATS, Condition, Never
from ..devices.redirect import Direct, handed_to
from ..errors import RegistryError
from ..forks import new_rlock
from ..pytorch_private import OpOverload
from ..registry import Entry, check, registry
from ..schema import functional_form, is_named, is_view, written_arguments
from ..specs import Takes, conditions_of, specs_of
from .ledger import Ledger


@dataclass(frozen=True)
class OwnEntry(Entry):
    """An entry of one session alone; `note` says of what."""

    note: str = ""


@dataclass(eq=False)
class Change:
    """One thing that a session does otherwise than the registry says, until it is undone.

    As a context manager it is undone at the end of the `with`; else by `undo()`, or when the session ends.
    """

    says: str
    pattern: str = ""
    op: OpOverload | None = None
    entry: Entry | None = None
    undone: Callable[[Change], None] = field(default=lambda change: None, repr=False)

    def undo(self) -> None:
        """Let the registry decide again; nothing if it does already."""
        self.undone(self)

    def __enter__(self) -> Change:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.undo()

    def find(self, op: OpOverload) -> Entry | None:
        """The entry that the change has for an op, if any."""
        if self.op is not None:
            return self.entry if self.op in (op, functional_form(op)) else None
        if is_view(op) or not any(_named(each, self.pattern) for each in (op, functional_form(op)) if each is not None):
            return None
        return Entry(op, "host", (Never("sent to the device by this session", because=self.says),), _no_samples)


class Entries:
    """Finds entries for a session. `changed` is called at each change, when no earlier decision holds."""

    def __init__(self, changed: Callable[[], None]):
        self._changes: list[Change] = []
        self._changed, self._lock = changed, new_rlock()
        self.generation = 0
        self.said: dict[str, None] = {}  # all that was ever changed, in order

    def find(self, op: OpOverload) -> Entry | None:
        """The entry by which the session decides calls of an op."""
        for change in reversed(self._changes):  # the latest counts
            entry = change.find(op)
            if entry is not None:
                return entry
        return registry.find(op)

    def own(self, op: OpOverload) -> bool:
        """Whether the session has a lowering of its own for this op."""
        return any(change.op is op for change in self._changes)

    def add(self, change: Change, undone: Callable[[], None] = lambda: None) -> Change:
        """Let a change count from now on."""

        def undo(change: Change) -> None:
            with self._lock:
                if change not in self._changes:
                    return
                self._changes.remove(change)
                self._renew()
            undone()

        change.undone = undo
        with self._lock:
            self._changes.append(change)
            self.said[change.says] = None
            self._renew()
        return change

    def undo_all(self) -> None:
        """Let the registry decide everything again."""
        for change in list(self._changes):
            change.undo()

    def _renew(self) -> None:
        self.generation += 1
        self._changed()


def overriding(
    op: OpOverload, lowering: Callable[..., Any], takes: Takes | None, when: Sequence[Condition] | None
) -> Change:
    """The change that has calls of `op` run by a lowering of the user's.

    Raises RegistryError for what is no overload, for an op that has no lowering of its own, and for a lowering that
    leaves out an argument.
    """
    if isinstance(op, OpOverload) and written_arguments(op):
        op = functional_form(op) or op
    if isinstance(op, OpOverload) and is_view(op):
        raise RegistryError(f"{op} only shows its argument's memory: views have no lowering of their own")
    known = registry.find(op) if isinstance(op, OpOverload) else None
    function = _with_ttnn(lowering)
    name = f"{getattr(lowering, '__module__', '')}.{getattr(lowering, '__qualname__', repr(lowering))}"
    specs, conditions = {}, tuple(when or ())
    if isinstance(op, OpOverload):
        if takes is None and known is not None and known.kind == "device":
            specs = dict(known.takes)
            of_entry = known.conditions if when is None else tuple(conditions_of(op, specs))
            conditions = (*of_entry, *conditions)
        else:
            specs = specs_of(op, FLOATS if takes is None else takes)
            conditions = (*conditions_of(op, specs), *conditions)
    says = f"{op} by {name}"
    outputs = known.outputs if known is not None else None
    entry = OwnEntry(op, "device", conditions, _no_samples, function, specs, outputs, lowering.__module__, note=says)
    check(entry)
    return Change(says, op=op, entry=entry)


def on_host(pattern: str) -> Change:
    """The change that keeps calls of ops that match the pattern on the host. Raises ValueError if none is known."""
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"expected the name of an op, or a pattern such as aten.gelu or 'aten.conv*'; got {pattern!r}")
    change = Change(f"{pattern!r} on the host", pattern)
    if not any(change.find(entry.op) for entry in registry) and not _of_pytorch(pattern):
        raise ValueError(f"no op matches {pattern!r}; `ttreg list` shows those with an entry")
    return change


def _with_ttnn(lowering: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering, in which calls of `ttnn` itself go to the session's device too."""
    if not callable(lowering):
        raise RegistryError(f"a lowering is a function of tt and the op's arguments; got {lowering!r:.80}")

    @wraps(lowering)
    def function(tt: Any, **arguments: Any) -> Any:
        api = vars(tt).get("_ttnn")
        if api is None:  # the tt of a rehearsal, which looks at sizes
            return lowering(tt, **arguments)
        with handed_to(api):
            return lowering(Direct(tt), **arguments)

    return function


def _named(op: OpOverload, pattern: str) -> bool:
    """Whether the pattern names the op, as for the commands; `aten.softmax` also names what autograd makes of it."""
    found, name = registry.find(op), str(op)
    if found is not None and found.named_by(pattern):
        return True
    return any(is_named(each, pattern) for each in (name, name.replace("._", ".", 1)))


def _of_pytorch(pattern: str) -> bool:
    import torch

    name = pattern.replace("::", ".").removeprefix("aten.").partition(".")[0]
    return name.isidentifier() and hasattr(torch.ops.aten, name)


def _no_samples() -> tuple[()]:
    return ()


class Overridable:
    """The part of a session that does some things otherwise than the registry says."""

    ledger: Ledger
    whole: ClassVar[Callable[[OpOverload], Callable[[], None]]]  # lets composite ops arrive; the hooks set it

    def __init__(self) -> None:
        self.entries = Entries(lambda: self.ledger.retire())  # which may be replaced by another

    def override(
        self,
        op: OpOverload,
        lowering: Callable[..., Any],
        *,
        takes: Takes | None = None,
        when: Sequence[Condition] | None = None,
    ) -> Change:
        """Run calls of `op` by a lowering of one's own, in this session only, until `undo()` of what this returns.

        That is a context manager too. The lowering is one as for `ttreg.lower`; it may call `ttnn` itself. Without
        `takes` and `when`, it gets the calls that the op's entry takes, or float32 and bfloat16 if there is no entry.
        In-place and `out=` forms follow. A composite op, such as `aten.softmax.int`, arrives whole, and its gradient is
        PyTorch's own. Raises RegistryError for an op or a lowering that does not fit.
        """
        change = overriding(op, lowering, takes, when)
        return self.entries.add(change, type(self).whole(change.op))  # type: ignore[arg-type]

    def on_host(self, pattern: str) -> Change:
        """Keep calls of some ops on the host, in this session only, until `undo()` of what this returns.

        The pattern is one as for `ttreg list`: a family, a part of an op's name, or a name with `*` and `?`. Views stay
        as they are. Raises ValueError if no op matches.
        """
        return self.entries.add(on_host(pattern))
