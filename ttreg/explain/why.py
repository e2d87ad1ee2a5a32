"""Says where a call would go and why, from its metadata alone: no device is opened, and nothing is computed."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, cast

import torch

from ..call import bind_arguments
from ..devices.base import Device
from ..errors import first_line
from ..fallback import decompose
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import Meta, intern, meta_of
from ..notation import ArgumentsError, write_call
from ..plan import Plan
from ..pytorch_private import OpOverload, OpOverloadPacket, TorchDispatchMode, below_autograd, tree_map_only
from ..refusal import NO_META
from ..runtime.decide import decide
from ..runtime.session import Session
from ..settings import Settings
from .nearest import Nearest, nearest

Op = OpOverload | OpOverloadPacket


@dataclass
class Placed:
    """One call: where it would go, and the condition that refuses it, if one does."""

    op: str
    call: str  # its arguments by name, as `--args` takes them
    placement: Literal["device", "host", "local", "decomposed", "view"]
    accepted: bool  # whether the device would run it; of a decomposed op, all of its parts
    condition: str = ""
    got: str = ""
    because: str = ""


@dataclass
class Answer(Placed):
    """What `ttreg why` says: where a call would go, what it lacks, and the parts of a decomposed op."""

    nearest: Nearest | None = None
    parts: list[Placed] = field(default_factory=list)
    provided: str = ""  # what the answer depends on besides metadata


class Oracle:
    """Decides calls as a session with these settings would, assuming that tensors are on the device if possible."""

    def __init__(self, settings: Settings | None = None):
        nowhere = cast(Device, SimpleNamespace(lock=threading.RLock(), arch="", chip_numerics=True, validated=False))
        self._session = Session(settings or Settings.resolve({}), nowhere)

    def ask(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Answer:
        """The answer for one call, in whose arguments a `Meta` stands for each tensor.

        Raises ArgumentsError if the arguments are not those of the op.
        """
        plan, arguments = self.plan(op, args, kwargs)
        answer = Answer(**asdict(placed(plan, arguments)))
        if plan.refusal is None and plan.entry is not None and plan.entry.checked:
            answer.provided = f"the values of {' and '.join(plan.entry.checked)} are within bounds"
        if plan.refusal is not None and plan.refusal != NO_META and plan.entry is not None:
            answer.nearest = nearest(self.plan, plan, arguments)
        if plan.placement == "decomposed":
            answer.parts, failure = self._parts(plan.op, arguments)
            answer.accepted = not failure and all(part.accepted for part in answer.parts)
            answer.provided = failure
        return answer

    def plan(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
        """The plan for a call, and its arguments by name, as PyTorch hands them to dispatch.

        Raises ArgumentsError if PyTorch's own parser refuses the arguments.
        """
        args, kwargs = tree_map_only(Meta, self._tensor, (args, kwargs))
        try:
            with torch.inference_mode(), _Arriving():  # under which composite ops arrive whole
                op(*args, **kwargs)
        except _Arrived as call:
            arguments = bind_arguments(call.op, call.positional, call.keywords)
            with below_autograd():  # as a mode decides: autograd itself refuses some calls that a kernel takes
                plan = decide(self._session, call.op, call.positional, call.keywords)
            return plan, tree_map_only(torch.Tensor, metadata_of, arguments)
        except Exception as error:  # of whatever type PyTorch chooses
            raise ArgumentsError(_of_parser(error)) from None
        raise ArgumentsError(f"{op} with these arguments reaches no dispatch: PyTorch answers it by itself")

    def _tensor(self, meta: Meta) -> torch.Tensor:
        if meta.dtype not in self._session.carriers or not meta.numel:
            return meta.on_meta()
        extent = meta.offset + sum((n - 1) * s for n, s in zip(meta.shape, meta.stride, strict=True)) + 1
        root = meta if meta.covers(meta.nbytes) else intern(meta.dtype, (extent,), (1,))
        return DeviceTensor.make(Cell(self._session, root, None), meta)

    def _parts(self, op: OpOverload, arguments: dict[str, Any]) -> tuple[list[Placed], str]:
        """Where the parts of a decomposed op go, and why further parts are unknown."""
        mode = _Parts(self)
        tensors = tree_map_only(Meta, Meta.on_meta, arguments)
        try:
            with torch.inference_mode(), mode:
                decompose.run(op, (), tensors)
        except Exception as error:
            return mode.parts, f"its other parts cannot be told without values: {first_line(error)}"
        return mode.parts, ""


class _Arrived(Exception):
    """Raised to unwind a call that has arrived at dispatch. Holds the call as PyTorch passed it."""

    def __init__(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]):
        super().__init__(str(op))
        self.op, self.positional, self.keywords = op, args, kwargs


class _WithoutDynamo(TorchDispatchMode):
    """A mode whose calls PyTorch does not wrap. The wrapper imports Dynamo, which takes longer than all else here."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Arriving(_WithoutDynamo):
    """Stops a call where it arrives at dispatch."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise _Arrived(func, args, kwargs or {})


class _Parts(_WithoutDynamo):
    """Records where each part of a decomposition would go, while it runs on meta tensors."""

    def __init__(self, oracle: Oracle):
        super().__init__()
        self._oracle = oracle
        self.parts: list[Placed] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        metas = tree_map_only(torch.Tensor, meta_of, (args, kwargs or {}))
        plan, arguments = self._oracle.plan(func, *metas)
        if plan.placement == "decomposed":
            with self:
                return decompose.run(func, args, kwargs or {})
        self.parts.append(placed(plan, arguments))
        return func(*args, **(kwargs or {}))


def placed(plan: Plan, arguments: dict[str, Any]) -> Placed:
    """Where a plan puts its call, for people and programs to read."""
    refusal = plan.refusal
    if refusal == NO_META:
        refusal = NO_META.with_got(_of_shape_function(plan.op, arguments))
    return Placed(
        op=str(plan.op),
        call=write_call(arguments),
        placement=plan.placement,
        accepted=refusal is None,
        condition=refusal.condition if refusal is not None else "",
        got=refusal.got if refusal is not None else "",
        because=refusal.because if refusal is not None else "",
    )


def _of_parser(error: Exception) -> str:
    """The lines of PyTorch's message that say what was wrong with which argument, and what the op takes."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines if "::" in line or line.startswith(("Value:", "Declaration:"))]
    return "\n".join(wanted[:3]) or first_line(error)


def _of_shape_function(op: OpOverload, arguments: dict[str, Any]) -> str:
    """What PyTorch says of the call without values."""
    try:
        op(**tree_map_only(Meta, Meta.on_meta, arguments))
    except Exception as error:
        return first_line(error)
    return "an output of another size than the tensor it is written to"
