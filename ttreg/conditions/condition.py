"""The base of all conditions, and the conditions that consist of a text and a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..call import Call
from ..refusal import Refusal, unjudged


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Base of the vocabulary. A subclass names its arguments and says what it `got` when it refuses."""

    because: str = ""

    # Whether it sees the program's own dtypes. Other conditions see the dtypes that the device carries.
    sees_program_dtype: ClassVar[bool] = False

    def arguments(self) -> tuple[str, ...]:
        """The schema names that the condition reads."""
        return ()

    def got(self, call: Call) -> str | None:
        """What the call has that the condition refuses, or None if the call is accepted."""
        raise NotImplementedError

    def refuse(self, call: Call) -> Refusal | None:
        """The refusal of `call`, or None."""
        try:
            got = self.got(call)
        except Exception as error:
            return unjudged(error, str(self))
        return None if got is None else Refusal(str(self), got, self.because)


@dataclass(frozen=True)
class OnArgument(Condition):
    """Base of the conditions on one argument. `name` is its schema name."""

    name: str

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Never(Condition):
    """Refuses every call."""

    text: str = "runs on the host"

    def got(self, call: Call) -> str | None:
        return ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Check(Condition):
    """For all that other conditions cannot say: a text, and a named function that returns `got`, or None to accept."""

    text: str
    function: Callable[[Call], str | None]

    def got(self, call: Call) -> str | None:
        return self.function(call)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ProgramCheck(Check):
    """As `Check`, but it sees the program's own dtypes, not the dtypes that carry them."""

    sees_program_dtype: ClassVar[bool] = True


@dataclass(frozen=True)
class InParts(Check):
    """As `Check`, for the last condition of an entry: a call that only it refuses is replaced by its parts.

    `into` calls them, with the arguments of the op.
    """

    into: Callable[..., Any]
