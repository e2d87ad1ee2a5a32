"""The conditions by which an entry says what the device can do. They are data, and they read no tensor values.

Every condition has three uses: `str(condition)` for people, `refuse(call)` for dispatch, and the `Refusal` that it
returns for the report.
"""

from __future__ import annotations

from ..refusal import Refusal
from .condition import Check, Condition, InParts, Never, ProgramCheck
from .tensors import (
    BOOL,
    FLOATS,
    INDICES,
    INTEGERS,
    MOVABLE,
    NUMBERS,
    UNSIGNED,
    Dtype,
    MultipleOf,
    ProgramDtype,
    Rank,
    SameDtype,
    SameShape,
    SizeAtMost,
)
from .values import AtLeast, AtMost, Given, Is, OneOf

__all__ = [
    "BOOL",
    "FLOATS",
    "INDICES",
    "INTEGERS",
    "MOVABLE",
    "NUMBERS",
    "UNSIGNED",
    "AtLeast",
    "AtMost",
    "Check",
    "Condition",
    "Dtype",
    "Given",
    "InParts",
    "Is",
    "MultipleOf",
    "Never",
    "OneOf",
    "ProgramCheck",
    "ProgramDtype",
    "Rank",
    "Refusal",
    "SameDtype",
    "SameShape",
    "SizeAtMost",
]
