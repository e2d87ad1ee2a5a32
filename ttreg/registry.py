"""The registry: one entry per aten op. It says when the device runs the op, how, and otherwise why not."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch

from .apart import Apart
from .call import Call, in_dtype
from .conditions import Condition, Dtype, Is, Never, Refusal
from .entry_arguments import check_arguments, check_function
from .errors import RegistryError
from .forks import new_rlock
from .meta import Meta
from .plugins import load_plugin, plugins
from .pytorch_private import OpOverload, OpOverloadPacket
from .room import InRoom
from .samples import Sample, Samples, seeded
from .schema import argument_names, functional_form, is_named, tensor_arguments, written_arguments
from .specs import Spec, Takes, conditions_of, specs_of
from .steps import Steps

# ops/for_torchvision.py has the entries of torchvision's ops, which exist only where torchvision is imported.
_FOR_LIBRARY = "for_"

# The name of an extra argument that a lowering may take: the metadata of the output.
OUT = "out"
Kind = Literal["device", "host", "decomposed"]


@dataclass(frozen=True)
class Entry:
    """What ttreg knows of one aten op."""

    op: OpOverload
    kind: Kind
    conditions: tuple[Condition, ...]
    samples_of: Samples
    function: Callable[..., Any] | None = None
    takes: Mapping[str, Spec] = field(default_factory=dict)
    outputs: Callable[[Call, list[Meta]], Sequence[Meta | None]] | None = None
    module: str = ""
    decomposition: Callable[..., Any] | None = None  # ours, where PyTorch has none
    chip: str = ""  # how a chip's float32 results differ from PyTorch's
    in_room: InRoom | None = None
    number: Callable[[Mapping[str, Any]], Any] | None = None
    apart: Apart | None = None
    steps: Steps | None = None

    @cached_property
    def promoted(self) -> tuple[str, ...]:
        """The arguments that are cast to one common dtype before the lowering gets them."""
        return tuple(name for name, spec in self.takes.items() if spec.promoted is not None)

    @cached_property
    def checked(self) -> tuple[str, ...]:
        """The arguments whose values the host checks before the lowering gets them."""
        return tuple(name for name, spec in self.takes.items() if spec.checked)

    def common_dtype(self, call: Call) -> torch.dtype | None:
        """The dtype to which the call's promoted arguments are cast; None if no argument is promoted."""
        promoted = next((spec.promoted for spec in self.takes.values() if spec.promoted is not None), None)
        return None if promoted is None else promoted.dtype(call, self.promoted)

    def in_common_dtype(self, call: Call) -> Call:
        """The call with its promoted arguments in their common dtype."""
        dtype = self.common_dtype(call)
        if dtype is None:
            return call
        changed = {name: in_dtype(call[name], dtype) for name in self.promoted}
        return Call(call.op, {**call.arguments, **changed}, call.arguments)

    @property
    def family(self) -> str:
        """The op family: the name of the module that holds the entry."""
        return self.module.rpartition(".")[2]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the lowering's parameters, `tt` first; empty without a lowering."""
        return tuple(inspect.signature(self.function).parameters) if self.function is not None else ()

    def refuse(self, call: Call, narrow: Mapping[torch.dtype, torch.dtype] | None = None) -> Refusal | None:
        """The first condition's refusal, or None if the device runs the call; `narrow` maps dtypes to carriers."""
        carried = call.carried(narrow) if narrow else call
        for condition in self.conditions:
            refusal = condition.refuse(call if condition.sees_program_dtype else carried)
            if refusal is not None:
                return refusal
        return None

    def samples(self) -> Iterator[Sample]:
        """The entry's sample calls, with the same values each time."""
        return seeded(self.samples_of)

    def named_by(self, pattern: str) -> bool:
        """Whether the pattern is the family, is part of the op's name, or matches the whole name with `*` and `?`."""
        return pattern == self.family or is_named(str(self.op), pattern)


class Registry:
    """Entries by op. The first read loads `ttreg.ops` and the packages of the entry-point group `ttreg.ops`."""

    def __init__(self) -> None:
        self._entries: dict[OpOverload, Entry] = {}
        self._namespaces: set[str] = set()
        self._loaded = False
        self._lock = new_rlock()

    def add(self, entry: Entry) -> None:
        """Add an entry. Raises RegistryError if the entry is invalid, or if the op already has one."""
        check(entry)
        if entry.op in self._entries:
            first = self._entries[entry.op].module
            raise RegistryError(f"{entry.op} has an entry already, in {first}; {entry.module} gives it another")
        self._entries[entry.op] = entry

    def find(self, op: OpOverload) -> Entry | None:
        """The entry of `op`. For an in-place or `out=` overload, this may be the entry of its functional form."""
        self.load()
        self._load_namespace(op.namespace)
        entry = self._entries.get(op)
        if entry is None:
            functional = functional_form(op)
            entry = self._entries.get(functional) if functional is not None else None
        return entry

    def matching(self, patterns: Iterable[str], kind: Kind | None = None) -> list[Entry]:
        """The entries that match one of the patterns; all if there is no pattern. `kind` limits them to one kind."""
        patterns = tuple(patterns)
        of_kind = (entry for entry in self if kind in (None, entry.kind))
        return [entry for entry in of_kind if not patterns or any(map(entry.named_by, patterns))]

    def __iter__(self) -> Iterator[Entry]:
        self.load()
        return iter(sorted(self._entries.values(), key=lambda entry: str(entry.op)))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)

    def load(self) -> None:
        """Import every module that holds entries, once."""
        with self._lock:
            if self._loaded:
                return
            package = importlib.import_module("ttreg.ops")
            for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
                if not module.startswith(_FOR_LIBRARY):
                    importlib.import_module(f"{package.__name__}.{module}")
            for entry_point in plugins():
                before = dict(self._entries)
                try:
                    load_plugin(entry_point)
                except RegistryError:
                    self._entries = before  # it may be loaded again, and then gives the entries again
                    raise
            self._loaded = True

    def _load_namespace(self, namespace: str) -> None:
        """Import the entries for another library's ops when the first such op arrives. The library is loaded then."""
        if namespace not in self._namespaces:
            self._namespaces.add(namespace)
            module = f"ttreg.ops.{_FOR_LIBRARY}{namespace}"
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)


registry = Registry()


def lower(
    op: OpOverload,
    *,
    samples: Samples,
    takes: Takes = (),
    when: Sequence[Condition] = (),
    outputs: Callable[[Call, list[Meta]], Sequence[Meta | None]] | None = None,
    chip: str = "",
    in_room: InRoom | None = None,
    number: Callable[[Mapping[str, Any]], Any] | None = None,
    apart: Apart | None = None,
    steps: Steps | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give `op` a lowering: the decorated function runs on the device whenever every condition of the entry holds.

    The function takes `tt` (the ttnn API) and every argument of the op by its schema name, tensors as `takes` says. It
    may leave out an argument only if an `Is` condition fixes it to one value. If it takes `out`, it gets the metadata
    of the output, or a list of them if the op has several. It returns one device tensor for each output that the op has
    in this call: none for a gradient that is not wanted. None stands for an output without elements. A rarely read
    output may be a function without arguments that makes it.

    `takes` says for each argument what the device takes and how it arrives (`ttreg.specs`); dtypes alone are for all.
    `when` has the other conditions, above all those on several arguments.
    `outputs` corrects the outputs' metadata where the shape function and the CPU kernel differ; None where it has none.
    `chip` says how a chip's float32 results differ from PyTorch's, where avoiding that would cost too many ttnn calls.
    `in_room` says how the entry works on arguments with spare room; `apart`, unless it is elementwise, which dimensions
    it keeps apart; `number` what every element of the output is, from the call's plain arguments; `steps` how its calls
    may be made together with those of others.
    """

    kinds = {"outputs": outputs, "chip": chip, "in_room": in_room, "number": number, "apart": apart, "steps": steps}
    check_arguments(op, samples, when, **kinds)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        check_function(op, function)
        specs = specs_of(op, takes) if isinstance(op, OpOverload) else {}
        also = outputs, _module_of(function), None, chip, in_room, number, apart, steps
        registry.add(Entry(op, "device", (*conditions_of(op, specs), *when), samples, function, specs, *also))
        return function

    return decorate


def cpu_only(*ops: OpOverload, because: str, samples: Samples) -> None:
    """Say that the ops run on the host, and why."""
    for op in ops:
        check_arguments(op, samples, because=because)
        registry.add(Entry(op, "host", (Never(because=because),), samples, module=_caller()))


def decomposed(*ops: OpOverload, because: str, samples: Samples, into: Callable[..., Any] | None = None) -> None:
    """Say that the ops decompose into other aten ops, and why: by `into`, or else by PyTorch's own decomposition."""
    for op in ops:
        check_arguments(op, samples, because=because, into=into)
    never = Never("is replaced by its parts", because=because)
    for op in ops:
        registry.add(Entry(op, "decomposed", (never,), samples, module=_caller(), decomposition=into))


def _module_of(function: Callable[..., Any]) -> str:
    """The module of an entry: that of its lowering, or the caller of `lower` if a shared word makes the lowering."""
    made_by_a_word = function.__module__.startswith("ttreg.ops.vocabulary")
    return _caller() if made_by_a_word else function.__module__


def _caller() -> str:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    return frame.f_globals["__name__"] if frame is not None else ""


def check(entry: Entry) -> None:
    """Raise RegistryError if the entry cannot be right for its op."""
    op = entry.op
    if isinstance(op, OpOverloadPacket):
        overloads = ", ".join(f"{op}.{name}" for name in op.overloads())
        raise RegistryError(f"{op} is a packet of overloads; name one of {overloads}")
    if not isinstance(op, OpOverload):
        raise RegistryError(f"an entry is for an aten overload such as aten.add.Tensor, not for {op!r}")
    if written_arguments(op) and functional_form(op) is not None:
        raise RegistryError(f"{op} is derived from {functional_form(op)}; give that an entry instead")
    names = argument_names(op)
    of_conditions = (name for condition in entry.conditions for name in condition.arguments())
    of_specs = (name for spec in entry.takes.values() for name in spec.arguments())
    _known(op, names, (*entry.takes, *of_conditions, *of_specs))
    if entry.function is not None:
        _check_lowering(entry, names)


def _check_lowering(entry: Entry, names: tuple[str, ...]) -> None:
    if entry.parameters[:1] != ("tt",):
        raise RegistryError(f"the lowering of {entry.op} takes `tt` first, got {', '.join(entry.parameters)}")
    taken = entry.parameters[1:]
    _known(entry.op, (*names, OUT), taken)
    if entry.in_room is not None:
        entry.in_room.check(entry.op, taken)
    fixed = {c.name for c in entry.conditions if isinstance(c, Is)}
    ignored = [name for name in names if name not in taken and name not in fixed]
    if ignored:
        raise RegistryError(
            f"the lowering of {entry.op} ignores {', '.join(ignored)}: take it, or leave it one value with `Is`"
        )
    typed = {name for c in entry.conditions if isinstance(c, Dtype) for name in c.arguments()}
    untyped = [name for name in tensor_arguments(entry.op) if name not in typed and name not in fixed]
    if untyped:
        raise RegistryError(
            f"{entry.op} says nothing of the dtype of {', '.join(untyped)}: say in `takes` which the device takes"
        )


def _known(op: OpOverload, names: tuple[str, ...], mentioned: Iterable[str]) -> None:
    unknown = [name for name in mentioned if name not in names]
    if unknown:
        raise RegistryError(f"{op} has no argument {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
