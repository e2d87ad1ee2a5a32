"""Turns what an entry says about its arguments into specs, and specs into conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from ..conditions import Condition, Dtype, ProgramDtype
from ..errors import RegistryError
from ..pytorch_private import OpOverload
from ..schema import tensor_arguments
from .spec import Spec
from .tensor import Tensor

# A spec, or dtypes that stand for `Tensor(dtypes)`.
Taken = Spec | tuple[torch.dtype, ...]
# One for each argument name, or a single one for every tensor argument.
Takes = Mapping[str, Taken] | Taken


def specs_of(op: OpOverload, takes: Takes) -> dict[str, Spec]:
    """The specs by argument name.

    Raises RegistryError for a value that is not a spec.
    """
    if not isinstance(takes, Mapping):
        takes = dict.fromkeys(tensor_arguments(op), takes) if takes else {}
    return {name: _spec_of(op, name, taken) for name, taken in takes.items()}


def _spec_of(op: OpOverload, name: str, taken: Taken) -> Spec:
    if isinstance(taken, Spec):
        return taken
    if not isinstance(taken, tuple) or not all(isinstance(dtype, torch.dtype) for dtype in taken):
        raise RegistryError(
            f"{op} takes {taken!r} for {name}; expected a spec of ttreg.specs or a tuple of dtypes, such as FLOATS"
        )
    return Tensor(taken)


def conditions_of(op: OpOverload, specs: Mapping[str, Spec]) -> Iterator[Condition]:
    """The conditions that follow from the specs. Arguments with the same dtypes share one dtype condition."""
    alike: dict[tuple[bool, tuple[torch.dtype, ...], str], list[str]] = {}
    for name, spec in specs.items():
        if spec.dtypes is not None and name in tensor_arguments(op):  # numbers have no dtype
            alike.setdefault((spec.program_dtype, spec.dtypes, spec.because_of_dtypes), []).append(name)
    for (program_dtype, dtypes, because), names in alike.items():
        asked = ProgramDtype if program_dtype else Dtype
        yield asked(tuple(names) if len(names) > 1 else names[0], dtypes, because=because)
    for name, spec in specs.items():
        yield from spec.conditions(name)
