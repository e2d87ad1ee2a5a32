"""Why a call is not for the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import first_line


@dataclass(frozen=True)
class Refusal:
    """Why a call is not for the device: the condition that failed and what it met."""

    condition: str
    got: str = ""
    because: str = ""

    def with_got(self, got: str) -> Refusal:
        """The same refusal, naming what it met."""
        return replace(self, got=got)

    def __str__(self) -> str:
        got = f", got {self.got}" if self.got else ""
        return f"{self.condition}{got}" + (f" ({self.because})" if self.because else "")


UNJUDGED = "asking raised that, so the host takes the call"


def unjudged(error: Exception, asked: str = "the entry can judge the call") -> Refusal:
    """The refusal of a call about which something in the registry raises when it is `asked`: PyTorch may as well."""
    return Refusal(asked, f"{type(error).__name__}: {first_line(error)}", UNJUDGED)
