"""Evenly spaced values, and the powers of a base that have them as exponents."""

from __future__ import annotations

import functools

import torch

from ..call import Call
from ..conditions import FLOATS, AtLeast, Check
from ..registry import lower
from ..samples import Sample, ints
from ..specs import Tensor
from .power import ODD_EXPONENTS
from .vocabulary import CPU, MADE, as_out, as_shape, cast, from_sizes, is_number, one_number, placed_elsewhere, widen

aten = torch.ops.aten

ENDS = ("start", "end")
WHOLE = (torch.int64, torch.int32, torch.uint8, torch.bool)
OVERFLOW = "PyTorch raises where a value is beyond the range of the dtype asked for"


@from_sizes
def distances(steps: int) -> torch.Tensor:
    """How many steps each value is from the end that it is counted from: the first half from the start, as in PyTorch.

    The others are negative; the last is -0.0, which adds nothing to an end that is -0.0.
    """
    places = torch.arange(steps, dtype=torch.float32)
    return torch.where(places < steps // 2, places, -(steps - 1 - places))


@from_sizes
def in_first_half(steps: int) -> torch.Tensor:
    """Ones where values are counted from the start."""
    return (torch.arange(steps, dtype=torch.int64) < steps // 2).to(torch.float32)


def spaced(tt, start, end, steps, dtype):
    """`steps` values from `start` to `end`, in float32; the ends, numbers or tensors, are first rounded to `dtype`."""

    def rounded(value):
        if is_number(value):
            value = tt.constant(one_number(value, dtype), result=True)
        return widen(tt, cast(tt, as_shape(tt, value, [1]), tt.carrier(dtype)))

    if steps == 1:
        return rounded(start)
    start, end = rounded(start), rounded(end)
    step = tt.divide(tt.subtract(end, start), float(steps - 1))
    nearest = tt.where(widen(tt, tt.constant(in_first_half(steps))), start, end)
    return tt.add(nearest, tt.multiply(widen(tt, tt.constant(distances(steps))), step))


def ranges(*more, then=()):
    """Samples of an op of two numbers, the number of values between them, and what follows."""

    def samples():
        for dtype in FLOATS:
            for start, end, steps in ((0, 1, 5), (-2.5, 1.25, 40), (3, -1.5, 2), (1.5, 4, 1), (1, 1, 3), (-2, 2, 600)):
                yield Sample(start, end, steps, *more, dtype=dtype)
            for arguments in then:
                yield Sample(-1, 2.0, 7, *arguments, dtype=dtype, device=CPU, pin_memory=False, layout=torch.strided)
        yield Sample(0, 1, 5, *more)
        yield Sample(0, 1, 5, *more, dtype=torch.float64)
        yield from placed_elsewhere(0, 1, 5, *more, dtype=torch.float32)

    return samples


def with_tensors(names, samples):
    """The samples with tensors of no dimension for the named ends: as they are, integers, and one that is refused."""

    def made():
        for sample in samples():
            yield with_ends(sample, lambda value: torch.tensor(float(value)))
        first = next(iter(samples()))
        for dtype in (*WHOLE, torch.bfloat16, torch.float64):
            yield with_ends(first, lambda value, dtype=dtype: torch.tensor(value, dtype=dtype))
        yield with_ends(Sample(-7, 2**24 + 1, 9, dtype=torch.float32), torch.tensor)
        yield with_ends(Sample(-257, 3, 9, dtype=torch.bfloat16), torch.tensor)
        if names == ENDS:
            yield Sample(torch.tensor(-1.5), ints(), 9, dtype=torch.bfloat16)
            yield Sample(torch.tensor(-1.5), ints(), 9, dtype=torch.float32)

    def with_ends(sample, tensor):
        start, end, *rest = sample.args
        start, end = tensor(start) if "start" in names else start, tensor(end) if "end" in names else end
        return Sample(start, end, *rest, **sample.kwargs)

    return made


def overloads(packet):
    """The overloads of a range, and the ends that are tensors in each."""
    yield packet.default, ()
    yield packet.Tensor_Tensor, ENDS
    yield packet.Tensor_Scalar, ("start",)
    yield packet.Scalar_Tensor, ("end",)


def lower_range(op, tensors, samples, lowering, *more, chip=""):
    """Give `op` the lowering; without a tensor among its ends it computes when the values are needed."""
    taken = Tensor((*FLOATS, *WHOLE), because=OVERFLOW, cast_to="dtype")
    if tensors:
        takes, samples = dict.fromkeys(tensors, taken), with_tensors(tensors, samples)
        lower(op, samples=samples, takes=takes, when=[*MADE, *more], chip=chip)(lowering)
    else:
        lower(op, samples=samples, when=[*MADE, *more], chip=chip)(later(lowering))


def later(lowering):
    @functools.wraps(lowering)
    def kept(*arguments, **more):
        return lambda: lowering(*arguments, **more)

    return kept


def linspace(tt, start, end, steps, dtype, layout, device, pin_memory, out):
    return as_out(tt, spaced(tt, start, end, steps, dtype), out)


for op, tensors in overloads(aten.linspace):
    lower_range(op, tensors, ranges(then=[()]), linspace)


def lone(call: Call) -> str | None:
    return "1" if call["steps"] == 1 else None


POSITIVE = [AtLeast("base", 0, because="which powers of others are numbers is decided by exponents in float64")]
NO_LONE_POWER = Check("more than one step", lone, because="PyTorch raises where a lone power is beyond float32")


def logspace(tt, start, end, steps, base, dtype, layout, device, pin_memory, out):
    # PyTorch rounds to bfloat16 neither the base nor the exponents.
    return as_out(tt, tt.pow(float(base), spaced(tt, start, end, steps, dtype)), out)


for op, tensors in overloads(aten.logspace):
    samples = ranges(then=[(2.0,), (1.1,), (0.5,), (1.0,), (0.0,), (-2.0,)])
    lower_range(op, tensors, samples, logspace, *POSITIVE, *[NO_LONE_POWER] * bool(tensors), chip=ODD_EXPONENTS)
