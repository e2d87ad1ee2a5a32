"""Which elements are among others: isin."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check
from ..registry import lower
from ..samples import Sample, ints, rand
from .vocabulary import HELD, as_shape, at_most, element, is_number, reduce, widen

aten = torch.ops.aten

COMPARED = (*FLOATS, torch.int32, torch.int64)


def found(tt, elements, among, invert, shape):
    """For each of the elements, of any shape, whether it is among the others, a row of them."""
    column = as_shape(tt, elements, [prod(shape), 1])
    same = widen(tt, tt.eq(column, as_shape(tt, among, [1, prod(among.shape)])))
    most = reduce(tt, "max", same, -1)
    result = as_shape(tt, tt.eqz(most) if invert else most, shape)
    return tt.typecast(result, tt.carrier(torch.bool))


def pairs(call):
    elements, others = call["elements"].numel, call["test_elements"].numel
    return -(-others // 32) * 32 * elements


def other_dtypes(call):
    dtypes = [call[name].dtype for name in ("elements", "test_elements")]
    return ", ".join(map(str, dtypes)) if len(set(dtypes)) > 1 else None


ONE_DTYPE = Check("one dtype", other_dtypes, because="PyTorch compares in the common one")


def tensors():
    for invert in (False, True):
        yield Sample(rand(5, 7).round(), rand(3).round(), invert=invert)
        yield Sample(rand(5, 7).round().bfloat16(), rand(2, 3).round().bfloat16(), invert=invert)
        yield Sample(ints(2, 40, high=50), ints(33, high=50), invert=invert)
        yield Sample(ints(2, 3, 4, dtype=torch.int32), ints(dtype=torch.int32), assume_unique=True, invert=invert)
    yield Sample(torch.tensor([torch.nan, torch.inf, 0.0]), torch.tensor([torch.nan, torch.inf, -0.0]))
    yield Sample(rand(5).double(), rand(3).double())
    yield Sample(rand(5), ints(3))
    yield Sample(rand(1).expand(HELD // 32 + 1), rand(3))


@lower(
    aten.isin.Tensor_Tensor,
    samples=tensors,
    takes=COMPARED,
    when=[
        ONE_DTYPE,
        at_most(HELD, "at most {} pairs of elements", pairs, because="all pairs are compared at once"),
    ],
)
def isin(tt, elements, test_elements, assume_unique, invert):
    # Whether the elements are unique, or are said to be, changes nothing in what is found.
    return found(tt, elements, test_elements, invert, list(elements.shape))


def beyond_int32(call):
    """A number that is not a value of int32, beside integers."""
    (dtype,) = {meta.dtype for _, meta in call.tensors()}
    value = next(value for value in call.arguments.values() if is_number(value))
    whole = value == value and abs(value) <= 2**31 - 1 and value == int(value)
    return None if dtype.is_floating_point or whole else str(value)


WHOLE = Check("beside integers, a number of int32", beyond_int32, because="the device carries them in int32")


def numbers():
    for invert in (False, True):
        for dtype in FLOATS:
            yield rand(5, 7, dtype=dtype).round(), 1, {"invert": invert}
            yield rand(2, 3, 40, dtype=dtype), 0.3, {"invert": invert}
            yield torch.tensor([torch.nan, -0.0, torch.inf], dtype=dtype), 0.0, {"invert": invert}
        yield ints(2, 40, high=5), 3, {"invert": invert}
        yield ints(2, 3, 4, dtype=torch.int32), 9, {"assume_unique": True, "invert": invert}
    yield rand(), 0.5, {}
    yield rand(5).double(), 0.5, {}
    yield ints(5), 2**40, {}
    yield ints(5), 2.5, {}


def elements_and_number():
    for tensor, value, options in numbers():
        yield Sample(tensor, value, **options)


def number_and_elements():
    for tensor, value, options in numbers():
        yield Sample(value, tensor, **options)


@lower(aten.isin.Tensor_Scalar, samples=elements_and_number, takes=COMPARED, when=[WHOLE])
def is_number_in(tt, elements, test_element, assume_unique, invert):
    compare = tt.ne if invert else tt.eq
    return compare(elements, element(tt, test_element, elements), dtype=tt.carrier(torch.bool))


@lower(aten.isin.Scalar_Tensor, samples=number_and_elements, takes=COMPARED, when=[WHOLE])
def number_is_in(tt, element, test_elements, assume_unique, invert):
    same = is_number_in(tt, test_elements, element, assume_unique, invert)
    return reduce(tt, "min" if invert else "max", same)
