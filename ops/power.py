"""Powers."""

from __future__ import annotations

import torch

from ..call import Call
from ..conditions import FLOATS, NUMBERS, Check
from ..registry import lower
from ..samples import Sample, rand
from ..specs import together
from ..steps import Steps
from .vocabulary import BF16, DENORMALS_ARE_ZERO, FITS, contiguous, element, int32, of_reciprocal, two_tensors

aten = torch.ops.aten

PAIR = ("self", "exponent")

ODD_EXPONENTS = "NaN and infinities as exponents may give infinity"
ODD_POWERS = (
    f"powers of NaN may be infinite, and those of -inf NaN; {ODD_EXPONENTS}, and such beyond 32767 NaN of a negative "
    f"number; {DENORMALS_ARE_ZERO}"
)


def _got_negative_exponent(call: Call) -> str | None:
    integers = any(meta.dtype is torch.int32 for _, meta in call.tensors("self"))
    return str(call["exponent"]) if integers and call["exponent"] < 0 else None


NOT_NEGATIVE = Check(
    "integers have an exponent that is not negative",
    _got_negative_exponent,
    because="PyTorch raises, and ttnn refuses",
)

# The exponents that are other functions' work, as in PyTorch.
EXACT = {0.5: "sqrt", -0.5: "rsqrt", 1.0: "identity", 2.0: "square"}
STEPS = {-0.5: ("RSQRT", 0.0), 2.0: ("SQUARE",)}


def _square(tt):
    return [tt.UnaryWithParam(tt.UnaryOpType.SQUARE)]


def powers():
    for exponent in (*EXACT, -1, 0, 2, 3, -2, 1.7, 1e-3):
        yield Sample(rand(5, 7, low=0.25, high=2.0), exponent)
        yield Sample(rand(2, 3, 40, dtype=BF16, low=0.25, high=2.0), exponent)
    for exponent in (2, 3, -3):
        yield Sample(rand(33, low=-2.0, high=-0.25), exponent)
    for exponent in (0, 1, 3, 0.5, -1):
        yield Sample(int32(5, 7, low=1), exponent)
    yield Sample(int32(5, 7), 2**40)
    yield Sample(rand(5, 7).double(), 2)


@lower(
    aten.pow.Tensor_Scalar,
    samples=powers,
    takes=together(PAIR, NUMBERS),
    when=[FITS, NOT_NEGATIVE],
    steps=Steps(lambda constants: STEPS.get(constants["exponent"])),
    chip=f"but for exponents of -1, -0.5, 0.5, 1, 2 and 3, {ODD_POWERS}",
)
def pow_number(tt, self, exponent):
    if self.dtype != tt.int32:
        if exponent == 3 and self.dtype == tt.float32:
            return tt.multiply(self, self, input_tensor_a_activations=tt.once(_square))
        if exponent == 3:
            return tt.multiply(tt.square(self), self)
        if exponent == -1:
            return of_reciprocal(tt, self)
        if exponent in EXACT:
            return getattr(tt, EXACT[exponent])(self)
    return tt.pow(self, element(tt, exponent, self))


def numbers():
    for base in (2, 0.5, 2.71828):
        yield Sample(base, rand(5, 7))
        yield Sample(base, rand(2, 3, 40, dtype=BF16))
    yield Sample(2, int32(5, 7))


@lower(aten.pow.Scalar, samples=numbers, outputs=contiguous, takes=FLOATS, chip=ODD_EXPONENTS)
def number_to_power(tt, self, exponent):
    return tt.pow(element(tt, self, exponent), exponent)


@lower(aten.pow.Tensor_Tensor, samples=two_tensors(0.25, 2.0), takes=together(PAIR, FLOATS), chip=ODD_POWERS)
def pow_tensor(tt, self, exponent):
    return tt.pow(self, exponent)
