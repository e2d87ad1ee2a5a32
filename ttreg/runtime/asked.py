"""A call that is being decided; its arguments are bound to the schema once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from ..call import Call, bind_arguments
from ..meta import Meta
from ..plan import Slot
from ..pytorch_private import OpOverload
from ..refusal import Refusal
from ..registry import Entry
from ..schema import RUNNING_STATISTICS, argument_names, tensor_arguments, written_arguments
from .fakes import no_meta
from .session import Session
from .shape_functions import Outputs, outputs_on_meta


class Asked:
    """One call in a session, as far as its decision depends on it: arguments by name, and their metadata."""

    def __init__(self, session: Session, op: OpOverload, args: tuple, kwargs: dict[str, Any]):
        self.session, self.op, self.args, self.kwargs = session, op, args, kwargs
        self.bound = bind_arguments(op, args, kwargs)

    @cached_property
    def call(self) -> Call:
        """The call as conditions see it."""
        return Call.of(self.op, self.bound)

    def as_call_of(self, entry: Entry) -> Call:
        """The call as a call of the entry's op, without the `out` arguments that only the `out=` form has."""
        return Call(entry.op, {name: self.call[name] for name in argument_names(entry.op)})

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """The arguments that this call writes to. A batch norm writes to its running statistics in training only."""
        written = written_arguments(self.op)
        return written if self.bound.get("training", True) else tuple(n for n in written if n not in RUNNING_STATISTICS)

    def slots(self) -> list[Slot]:
        """The arguments that hold tensors, in schema order."""
        places = {name: index for index, name in enumerate(argument_names(self.op)) if index < len(self.args)}
        return [
            Slot(name, places.get(name, name)) for name in tensor_arguments(self.op) if _holds_tensor(self.bound[name])
        ]

    @cached_property
    def outputs(self) -> Outputs:
        """The outputs' metadata."""
        return outputs_on_meta(self.op, self.bound)

    def outputs_of(self, overload: OpOverload) -> list[Meta] | None:
        """The outputs' metadata of another overload of the op, called with the arguments that it has."""
        return outputs_on_meta(overload, {name: self.bound[name] for name in argument_names(overload)}).metas

    def without_outputs(self) -> Refusal:
        """The refusal of a call for which the shape function gives no metadata."""
        return no_meta(self.op, self.args, self.kwargs)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(v, torch.Tensor) for v in (value if isinstance(value, (list, tuple)) else [value]))
