"""`check=<PCC>`: compares every device op with the host on the same inputs, and says what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..call import Call
from ..carriers import narrowed
from ..devices.base import Value
from ..errors import AccuracyError
from ..images import Image, unfolded
from ..meta import Meta, dtype_name
from ..modes import without_modes
from ..plan import Plan, Slot
from ..pytorch_private import tree_leaves, tree_map_only
from ..runtime.block_floats import block_float_of
from ..runtime.session import Session
from ..runtime.ttnn_ops import TTNN_OPS
from .compare import Statistics, differences, largest_difference, largest_ulps, one_sided, pcc
from .reproduce import Input, snippet, spread

# The host's result may be pure rounding error, such as the mean of a normalized tensor. The device's result is then
# accepted if its root mean square error is at most this factor larger than the host's.
_AS_GOOD = 4


@dataclass
class _Checked:
    """One op and its arguments, tensors as `Input`s; results are held to the threshold one by one."""

    session: Session
    op: Any
    lowering: str
    args: tuple
    kwargs: dict[str, Any]
    view: bool = False

    def hold(self, number: int, meta: Meta, got: torch.Tensor, wanted: torch.Tensor) -> None:
        """Raise AccuracyError if output `number` differs from the host's."""
        threshold = self.session.settings.check
        assert threshold is not None
        with without_modes():
            dtype = self.session.carriers.narrow.get(meta.dtype, meta.dtype)
            got, wanted = got.to(dtype), wanted.to(dtype)
            ends = _ends_infinite(got), _ends_infinite(wanted)
            correlation = pcc(*ends)
            right = correlation >= threshold
            if right or self._is_as_good(number, got, wanted):
                self.session.ledger.held(str(self.op), correlation if right else None)
                return
            odd = one_sided(*ends)
            if odd and dtype == torch.bfloat16 and odd.packed == odd.nans and not odd.infinities:
                self.session.ledger.lost(str(self.op), odd.nans)  # no kernel of a chip can keep them
                if odd.pcc >= threshold:
                    return
            where = f"output {number}, {meta}, which {self.lowering} made,"
            text = f"{where} has a PCC of {odd.pcc:.5f} with the host's"
            text += " where both are finite" if odd else ""
            text += f", below {threshold}" if odd.pcc < threshold else ""
            text += f"; on one side only there are {odd}" if odd else ""
            error = self._error(text, correlation, got, wanted)
            error.finite_pcc, error.nans, error.infinities = odd.pcc, odd.nans, odd.infinities
            raise error

    def host_results(self, convert: Callable[[torch.Tensor], torch.Tensor] = torch.clone) -> list[torch.Tensor]:
        """The host's results for the inputs. The program's random number generator is not advanced."""
        args, kwargs = tree_map_only(Input, lambda i: convert(i.tensor), (self.args, self.kwargs))
        with torch.random.fork_rng(devices=[]):
            results = tree_leaves(self.op(*args, **kwargs))
        return [result for result in results if isinstance(result, torch.Tensor)]

    def _is_as_good(self, number: int, got: torch.Tensor, wanted: torch.Tensor) -> bool:
        """Whether the device's error, against the exact result, is about as small as the host's."""
        if self.view or not wanted.dtype.is_floating_point:
            return False
        try:
            exact = self.host_results(lambda t: t.double() if t.is_floating_point() else t.clone())[number]
        except Exception:  # the op does not take float64
            return False
        off, hosts = (float((result.double() - exact.double()).norm()) for result in (got, wanted))
        return off < float("inf") and off <= _AS_GOOD * hosts

    def _error(self, text: str, correlation: float, got: torch.Tensor, wanted: torch.Tensor) -> AccuracyError:
        largest, ulps = largest_difference(got, wanted), largest_ulps(got, wanted)
        where = _place(differences(got, wanted))
        call = Call.bind(self.op, *tree_map_only(Input, lambda i: i.tensor, (self.args, self.kwargs)))
        error = AccuracyError(
            f"{call}: {text}\n{_table(device=Statistics.of(got), host=Statistics.of(wanted))}"
            f"largest difference {largest:.6g} ({ulps:.6g} ulp of {dtype_name(got.dtype)}) at {where}: "
            f"{got[tuple(where)].item():.9g} on the device, {wanted[tuple(where)].item():.9g} on the host\n"
            f"to repeat it, run\n\n{self._snippet}"
        )
        error.op, error.lowering, error.snippet = str(self.op), self.lowering, self._snippet
        error.pcc, error.max_abs, error.max_ulp = correlation, largest, ulps
        return error

    @cached_property
    def _snippet(self) -> str:
        return snippet(
            self.session.settings, self.op, self.args, self.kwargs, self.view, self.lowering.rpartition(".")[0]
        )


def compare(
    session: Session, plan: Plan, arguments: dict[str, Value], values: Sequence[Value], args: tuple, kwargs: dict
) -> list[Value]:
    """The values, once each is found to be what the host has; those that are not computed yet are held to it then.

    Raises AccuracyError if one correlates with the host's by less than the session's `check`.
    """
    if plan.op in TTNN_OPS and not TTNN_OPS[plan.op].has_host:
        return list(values)  # there is nothing to compare with
    inputs: dict[int, Input] = {}
    for slot in plan.slots:
        for tensor in slot.tensors(args, kwargs):
            inputs[id(tensor)] = _input(session, tensor, arguments[slot.name] if slot.arrival.block_float else None)

    def as_input(tensor: torch.Tensor) -> Input:
        return inputs.get(id(tensor)) or inputs.setdefault(id(tensor), _input(session, tensor))

    checked = _Checked(session, plan.op, _lowering(plan), *tree_map_only(torch.Tensor, as_input, (args, kwargs)))
    held = []
    for number, (value, meta, wanted) in enumerate(zip(values, plan.outputs, checked.host_results(), strict=True)):
        if callable(value):
            value = _held_later(checked, number, meta, value, wanted)
        elif value is not None:  # None is without elements
            checked.hold(number, meta, _downloaded(session, value), wanted)
        held.append(value)
    return held


def compare_views(session: Session, plan: Plan, parent: Value, source: Meta, made: dict[Meta, Value]) -> None:
    """Raise AccuracyError if a view on the device differs from the same view of its parent on the host."""
    _compare_moved(session, plan, parent, source, made)


def compare_relaid(session: Session, value: Value, source: Meta, made: dict[Meta, Value]) -> None:
    """Raise AccuracyError if a storage under other metadata has other values than before."""
    for target, shown in made.items():
        plan = Plan(torch.ops.aten.as_strided.default, "view", slots=[Slot("self", 0)])
        plan.constants = {"size": list(target.shape), "stride": list(target.stride), "storage_offset": target.offset}
        _compare_moved(session, plan, value, source, {target: shown})


def _compare_moved(session: Session, plan: Plan, parent: Value, source: Meta, made: dict[Meta, Value]) -> None:
    values = _downloaded(session, parent).to(source.dtype).view(source.shape)  # of an image, it may be folded
    with without_modes():
        memory = spread(values, source)
        given = Input(memory.as_strided(source.shape, source.stride, source.offset), on_device=True)
    constants = {name: value for name, value in plan.constants.items() if value is not None}
    checked = _Checked(session, plan.op, _lowering(plan), (given,), constants, view=True)
    for number, (meta, value) in enumerate(made.items()):
        with without_modes():
            wanted = memory.as_strided(meta.shape, meta.stride, meta.offset)
        checked.hold(number, meta, _downloaded(session, value), wanted)


def _input(session: Session, tensor: torch.Tensor, block_value: Value = None) -> Input:
    """A tensor's values as the device holds them, rounded if the session or the user carries it in fewer bits."""
    plain = session.peek(tensor)
    block_float = block_float_of(plain) if block_value is not None else None
    if block_float is not None:
        plain = _downloaded(session, block_value)
    elif plain.dtype in session.carriers.narrow:
        plain = narrowed(plain, session.carriers.narrow[plain.dtype])
    return Input.of(tensor, plain, block_float)


def _held_later(
    checked: _Checked, number: int, meta: Meta, make: Callable[[], Value], wanted: torch.Tensor
) -> Callable[[], Value]:
    wanted = wanted.clone()  # a custom op may return memory that is written to before the check

    def made() -> Value:
        value = make()
        checked.hold(number, meta, _downloaded(checked.session, value), wanted)
        return value

    return made


def _ends_infinite(tensor: torch.Tensor) -> torch.Tensor:
    """The values, the largest that the dtype has as infinities: masks hold them, beside which nothing else counts."""
    if not tensor.is_floating_point():
        return tensor
    return torch.where(tensor.abs() >= torch.finfo(tensor.dtype).max, tensor.sign() * float("inf"), tensor)


def _downloaded(session: Session, value: Value) -> torch.Tensor:
    with session.device.lock:
        if not isinstance(value, Image):
            return session.device.download(value)
        plain = session.device.download(value.value)
    with without_modes():
        return plain.view(unfolded(value.shape)).movedim(-1, 1)


def _lowering(plan: Plan) -> str:
    if plan.entry is None or plan.entry.function is None:
        return "ttreg.memory.relayout.relayout"
    return f"{plan.entry.module}.{plan.entry.function.__name__}"


def _place(apart: torch.Tensor) -> list[int]:
    return [int(i) for i in torch.unravel_index(apart.argmax(), apart.shape)]


def _table(**rows: Statistics) -> str:
    columns = ("min", "max", "mean", "std", "NaN", "inf")
    lines = [f"{'':8}" + "".join(f"{column:>14}" for column in columns)]
    for name, s in rows.items():
        numbers = "".join(f"{number:14.6g}" for number in (s.least, s.largest, s.mean, s.std))
        lines.append(f"{name:8}{numbers}{s.nans:14}{s.infinities:14}")
    return "\n".join(lines) + "\n"
