"""What a call leaves behind: its results, and the new content of tensors from outside. A replay makes them last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import increment_version

from ..errors import TtregError
from ..images import Image, ImageLayout
from ..memory import watch
from ..memory.cell import Cell
from ..memory.chains import ViewOf
from ..memory.pieces import in_one_piece, on_host_only, replace_on_host
from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from ..meta import Meta, is_plain, meta_of
from ..pytorch_private import tree_flatten, tree_unflatten
from .tape import Tape
from .words import External, Miss, Ref, present

_PLAIN = frozenset((int, float, bool, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size))

Gradients = list[tuple[External, torch.Tensor | None]]  # external tensors, and the gradients that they had

_OWN = {"_cell", "_meta", "_view"}  # attributes of a tensor of the device


@dataclass(frozen=True)
class Held:
    """The content of a cell: a value with the metadata `root`, an image, or a storage of the host."""

    root: Meta
    given: Any  # a register, or a constant
    on_host: bool = False
    image: ImageLayout | None = None
    folded: bool = False

    def value(self, registers: list[Any]) -> Any:
        """The value, or the storage, of a replay."""
        return registers[self.given.number] if isinstance(self.given, Ref) else self.given


@dataclass(frozen=True)
class Leaf:
    """A result: a constant, an external tensor or a view of it, a tensor over a new cell, or one of the host."""

    kind: str
    value: Any = None
    meta: Any = None
    view: ViewOf | None = None


@dataclass
class Results:
    """What a replay leaves behind."""

    leaves: list[Leaf]
    spec: Any
    cells: list[Held]
    commits: list[tuple[External, Held]]
    host_commits: list[tuple[External, Ref]]
    gradients: list[tuple[External, Leaf | None]]
    refs: set[Ref] = field(default_factory=set)

    def may_commit(self, arguments: list[Any]) -> None:
        """Raise Miss unless all can be written that a replay is to write."""
        for external, _ in self.commits:
            if present(external, arguments)._cell.pinned:
                raise Miss("a tensor that the function writes to is held in the memory of the host by now")

    def commit(self, registers: list[Any], arguments: list[Any]) -> None:
        """Write the new content of external tensors; see `may_commit`."""
        for external, held in self.commits:
            _write(present(external, arguments), held, held.value(registers))
        for external, ref in self.host_commits:
            _write_host(present(external, arguments), registers[ref.number])

    def make(self, session: Any, registers: list[Any], arguments: list[Any]) -> tuple[Any, list[tuple[Any, Any]]]:
        """The function's result, and new gradients with the tensors that are to have them."""
        cells = [new_cell(session, held, held.value(registers)) for held in self.cells]
        first: dict[int, DeviceTensor] = {}
        made: dict[int, Any] = {}
        for leaf in (*self.leaves, *(leaf for _, leaf in self.gradients if leaf is not None)):
            if id(leaf) not in made:  # a tensor that is returned twice
                made[id(leaf)] = self.leaf(leaf, cells, first, registers, arguments)
        gradients = [
            (present(owner, arguments), None if leaf is None else made[id(leaf)]) for owner, leaf in self.gradients
        ]
        leaves = [made[id(leaf)] for leaf in self.leaves]
        return (tree_unflatten(leaves, self.spec) if self.spec is not None else leaves[0]), gradients

    def leaf(
        self, leaf: Leaf, cells: list[Cell], first: dict[int, DeviceTensor], registers: list[Any], arguments: list[Any]
    ) -> Any:
        """One result; `first` has the results that were made first over each cell."""
        kind, value = leaf.kind, leaf.value
        if kind == "new":
            source = first.get(value)
            if source is not None:
                return DeviceTensor.view_of(source, leaf.meta, leaf.view)
            made = first[value] = DeviceTensor.make(cells[value], leaf.meta, leaf.view)
            return made
        if kind == "constant":
            return value
        if kind == "external":
            return present(value, arguments)
        if kind == "view":
            return DeviceTensor.view_of(present(value, arguments), leaf.meta, leaf.view)
        if kind == "view on the host":
            return _view_of(present(value, arguments), leaf.meta)
        return leaf.meta.on_storage(registers[value.number])


def new_cell(session: Any, held: Held, value: Any) -> Cell:
    """A cell of the session with the content of a replay."""
    if held.on_host:
        cell = on_host_only(session, held.root, value)
    elif held.image is not None:
        cell = Cell(session, held.root, None)
        cell.hold_image(held.image.tensor, Image(value, held.image.tensor.shape, held.folded))
    else:
        cell = Cell(session, held.root, value)
    session.adopt(cell)
    return cell


def _view_of(plain: torch.Tensor, meta: Meta) -> torch.Tensor:
    with torch.set_grad_enabled(torch.is_grad_enabled() and not plain.requires_grad):
        return plain.as_strided(meta.shape, meta.stride, meta.offset)


def _write(tensor: Any, held: Held, value: Any) -> None:
    cell = tensor._cell
    if held.on_host:
        replace_on_host(cell, value)
    elif held.image is not None:
        cell.device_write(held.image.tensor, Image(value, held.image.tensor.shape, held.folded))
    else:
        cell.device_write(held.root, value)
    _count(tensor)


def _write_host(tensor: Any, storage: torch.UntypedStorage) -> None:
    if isinstance(tensor, DeviceTensor):
        cell = tensor._cell
        if cell.storage is None:
            raise TtregError("a tensor left the host while a recording was replayed")
        cell.storage.copy_(storage)
        cell.host_written()
    else:
        storage_of(tensor).copy_(storage)
        watch.written(tensor)
    _count(tensor)


def _count(tensor: torch.Tensor) -> None:
    if not tensor.is_inference():
        increment_version(tensor)


def found(tape: Tape, result: Any, arguments: list[Any], before: Gradients) -> Results | None:
    """What a recorded call leaves behind; None if a replay could not leave the same."""
    leaves, spec = tree_flatten(result)
    finder = _Finder(tape)
    made = [finder.leaf(leaf) for leaf in leaves]
    gradients = finder.gradients(before)
    commits = finder.commits()
    if tape.failed is not None:
        return None
    is_leaf = len(leaves) == 1 and leaves[0] is result
    written = [external for external in tape.externals.all if external.written]
    host = [(external, tape.knows(storage_of_external(external, arguments))) for external in written]
    known = [(external, ref) for external, ref in host if ref is not None]
    results = Results(made, None if is_leaf else spec, finder.cells, commits, known, gradients)
    given = [held.given for held in (*finder.cells, *(held for _, held in commits))]
    given += [ref for _, ref in results.host_commits] + [leaf.value for leaf in made]
    given += [leaf.value for _, leaf in gradients if leaf is not None]
    results.refs = {ref for ref in given if isinstance(ref, Ref)}
    return results


def storage_of_external(external: External, arguments: list[Any]) -> Any:
    """The storage on the host of an external tensor that is there."""
    tensor = present(external, arguments)
    return tensor._cell.storage if isinstance(tensor, DeviceTensor) else storage_of(tensor)


class _Finder:
    def __init__(self, tape: Tape):
        self._tape = tape
        self.cells: list[Held] = []
        self._numbers: dict[int, int] = {}
        self._leaves: dict[int, tuple[Any, Leaf]] = {}
        self._inference = torch.is_inference_mode_enabled()

    def leaf(self, value: Any) -> Leaf:
        """How a replay makes this result; the same for a tensor that comes twice."""
        if not isinstance(value, torch.Tensor):
            return self._leaf(value)
        if id(value) not in self._leaves:
            self._leaves[id(value)] = value, self._leaf(value)
        return self._leaves[id(value)][1]

    def gradients(self, before: Gradients) -> list[tuple[External, Leaf | None]]:
        """The gradients that the call has set, or taken away."""
        changed = [(owner, owner.tensor.grad) for owner, old in before if owner.tensor.grad is not old]
        return [(owner, None if new is None else self.leaf(new)) for owner, new in changed]

    def _leaf(self, value: Any) -> Leaf:
        tape = self._tape
        if not isinstance(value, torch.Tensor):
            if type(value) not in _PLAIN:
                tape.fail(f"it returns a {type(value).__name__}, which a replay cannot make anew")
            return Leaf("constant", value)
        for external in tape.externals.all:
            if external.tensor is value:
                return Leaf("external", external)
        if isinstance(value, torch.nn.Parameter) or not value.__dict__.keys() <= _OWN:
            tape.fail("it returns a parameter, or a tensor with attributes, which a replay cannot make anew")
        elif value.requires_grad and (value._base is None or not value.is_leaf):  # no view that was made without grad
            tape.fail("a result requires grad: backward would have to go through the recording (use torch.no_grad())")
        elif value.is_inference() != self._inference:
            tape.fail("a result was made in inference mode, and the call was not, or the other way round")
        elif type(value) is DeviceTensor:
            return self._of_device(value)
        elif type(value) is torch.Tensor and is_plain(value):
            return self._of_host(value)
        else:
            tape.fail(f"it returns a {type(value).__name__} that a replay cannot make anew")
        return Leaf("constant")

    def _of_device(self, tensor: DeviceTensor) -> Leaf:
        cell, tape = tensor._cell, self._tape
        external = tape.external_of(cell)
        if external is not None:
            return Leaf("view", external, tensor._meta, tensor._view)
        number = self._numbers.get(id(cell))
        if number is None:
            number = self._numbers[id(cell)] = len(self.cells)
            held = self._held(cell)
            if held is None:
                tape.fail("it returns a tensor whose content the recording does not know")
                return Leaf("constant")
            self.cells.append(held)
        return Leaf("new", number, tensor._meta, tensor._view)

    def _of_host(self, tensor: torch.Tensor) -> Leaf:
        tape, storage = self._tape, storage_of(tensor)
        external = tape.externals.of_storage(storage)
        if external is not None and not isinstance(external.tensor, DeviceTensor):
            if external.tensor.dtype == tensor.dtype and external.tensor.is_inference() == self._inference:
                return Leaf("view on the host", external, meta_of(tensor))
            tape.fail("it returns a view of a tensor of the host from outside, in another dtype or inference mode")
        elif external is not None:
            tape.fail("it returns a tensor of the host that shares memory with one of the device")
        ref = tape.knows(storage)
        if ref is None:
            tape.fail("it returns a tensor of the host that the recording does not know")
            return Leaf("constant")
        return Leaf("host", ref, meta_of(tensor))

    def _held(self, cell: Cell) -> Held | None:
        tape = self._tape
        in_one_piece(cell)
        value = cell.values.get(cell.whole)
        if value is None:
            ref = tape.knows(cell.storage) if cell.storage is not None else None
            return None if ref is None or cell.pinned else Held(cell.root, ref, on_host=True)
        return Held(cell.root, tape.ref(value), image=cell.image, folded=cell.folded)

    def commits(self) -> list[tuple[External, Held]]:
        """The new content of external tensors of the device."""
        found = []
        for external, cell, before in list(self._tape.initial.values()):
            tensor: Any = external.tensor
            if tensor._cell is not cell:
                self._tape.fail(f"{external.name} got the data of another tensor")
                continue
            in_one_piece(cell)
            after = cell.values.get(cell.whole)
            if after is before or (before is None and cell.storage is not None):
                continue
            held = self._held(cell)
            if held is None:
                self._tape.fail(f"it gives {external.name} a content that the recording does not know")
            else:
                found.append((external, held))
        return found
