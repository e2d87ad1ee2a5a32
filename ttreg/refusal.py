"""Refusals: why the device does not run a call. The refusals that belong to no entry are listed here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import first_line


@dataclass(frozen=True)
class Refusal:
    """Why the device does not run a call: the condition that failed, and what the call had instead."""

    condition: str
    got: str = ""
    because: str = ""

    def with_got(self, got: str) -> Refusal:
        """The same refusal, naming what the call had instead."""
        return replace(self, got=got)

    def __str__(self) -> str:
        got = f", got {self.got}" if self.got else ""
        return f"{self.condition}{got}" + (f" ({self.because})" if self.because else "")


UNJUDGED = "asking raised that, so the host takes the call"


def unjudged(error: Exception, asked: str = "the entry can judge the call") -> Refusal:
    """The refusal of a call for which the registry raised an error while it was `asked`. PyTorch may raise one too."""
    return Refusal(asked, f"{type(error).__name__}: {first_line(error)}", UNJUDGED)


# Requirements on the op itself, its outputs and its arguments.
NO_ENTRY = Refusal("no entry", "", "the registry does not have this op")
NO_DECOMPOSITION = Refusal("PyTorch has a decomposition", "", "it has one of the functional form only")
EMPTY = Refusal("no empty tensor", "", "there is nothing to compute")
HOST_MEMORY = Refusal("what it writes to lies on the device", "a tensor of the host", "others may see that memory")
PART_WRITTEN = Refusal(
    "writes to a whole storage, or to a part that can be put into it",
    "",
    "ttnn tensors have no views to write through",
)
WRITES_BY_PARTS = Refusal(
    "done by an op of its own", "", "autograd is told of the writes by the ops that it is made of"
)
OUT_DTYPE = Refusal("out has the dtype of the result", "", "PyTorch casts to some others, and says to which")
LEFT_FOR_LATER = Refusal("no lazy conjugate or negative", "", "PyTorch notes on the tensor what is left to do")
NO_META = Refusal("accepted by PyTorch without values", "", "its shape function raises, so the host runs it or raises")
DATA_DEPENDENT = Refusal("the shape of the result is known beforehand", "", "it depends on the data")
NOT_CARRIED = Refusal("the device carries the output's dtype", "", "ttnn has no such dtype")
FOREIGN = Refusal(
    "only ordinary CPU tensors and plain numbers", "", "symbolic and foreign calls pass through untouched"
)

COLLECTIVE = Refusal(
    "stays in one process", "", "what other processes send and get lies on the host: only that comes down"
)

# Requirements on the constants among the arguments.
NUMBERS = Refusal("numbers are real and within float32's range", "", "ttnn takes no others")
BESIDE_BFLOAT16 = Refusal("numbers beside bfloat16 are within its range", "", "PyTorch overflows or raises by others")
LARGE = Refusal("sizes within int32's range", "", "PyTorch refuses most others, and ttnn all")
FACTORS = Refusal("alpha and beta are finite", "", "times what is left out or zero they are NaN in PyTorch")
NO_SUCH_DIMENSION = Refusal("dimensions that the tensor has", "", "the host raises what PyTorch raises")
TWICE = Refusal("each dimension once", "", "the host raises what PyTorch raises")

# Reasons that show only when a call runs, after its plan chose the device.
INDEX_OUT_OF_RANGE = Refusal("indices within bounds", "", "the host raises what PyTorch raises")
TOO_LARGE = Refusal("int64 values within int32's range", "", "the device carries no larger ones")
OUT_OF_BOUNDS = Refusal("a view within its storage", "", "the host raises what PyTorch raises")
OVERLAPPING = Refusal(
    "writes to no other argument's memory", "", "the host raises or orders the writes as PyTorch does"
)
REBUILT = Refusal("the storage was written under the shape it was made with", "", "the host takes the view instead")

# Failures of ttnn or a lowering, under on_device_error="fallback".
_WANTED = 'on_device_error="fallback" has the host take the call'
REFUSED_BY_TTNN = Refusal("ttnn accepts the call", "", _WANTED)
LOWERING_FAILED = Refusal("the lowering does not fail", "", _WANTED)
