"""Python's and NumPy's numbers beside tensors: type promotion, exactness and errors are CPU's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

X = torch.arange(12.0).reshape(3, 4) / 4
TENSORS = {
    "float32": X,
    "bfloat16": X.bfloat16(),
    "int32": torch.arange(12, dtype=torch.int32).reshape(3, 4),
    "bool": X > 1,
}
NUMBERS = [
    *(1, True, 1.0, 0, False, 0.0, -0.0, -3, 2.5, 2**31, 2**40, 1e300, 1 + 2j, math.inf, -math.inf, math.nan),
    *(np.float32(2), np.float64(0.5), np.int64(3), np.bool_(True)),
    *(torch.tensor(2), torch.tensor(2.5), torch.tensor(2.5, dtype=torch.float64), torch.tensor(True)),
]
OPERATIONS = {
    "add": lambda t, n: t + n,
    "sub": lambda t, n: n - t,
    "mul": lambda t, n: t * n,
    "div": lambda t, n: t / n,
    "pow": lambda t, n: t**n,
    "floor": lambda t, n: t // n,
    "alpha": lambda t, n: torch.add(t, t, alpha=n),
    "equal": lambda t, n: t == n,
    "greater": lambda t, n: t > n,
    "fill": lambda t, n: t.clone().fill_(n),
    "full": lambda t, n: torch.full_like(t, n),
    "where": lambda t, n: torch.where(t > 1, t, n),
    "clamp": lambda t, n: t.clamp(min=n),
    "in place": lambda t, n: t.clone().add_(n),
}
SCALES = (torch.add, torch.mul, torch.sub, torch.div, torch.maximum, torch.eq, torch.fmod, torch.remainder)
OTHERS = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.int16)


def kind(value) -> str:
    return f"{type(value).__name__}-{value}"


def told(function, *operands) -> str:
    """What the function gives, dtype and values to a few digits, or the error."""
    try:
        result = function(*operands)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("DeviceTensor", "Tensor")
    digits = {torch.float32: "%.5g", torch.bfloat16: "%.2g"}.get(result.dtype, "%s")
    return f"{result.dtype} {tuple(result.shape)} {[digits % value for value in result.flatten().tolist()]}"


@pytest.mark.filterwarnings("ignore:.*Complex.* support is experimental:UserWarning")
@pytest.mark.parametrize("number", NUMBERS, ids=kind)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_number_beside_a_tensor(operation, number, device):
    function = OPERATIONS[operation]
    expected = {name: told(function, plain, number) for name, plain in TENSORS.items()}
    with device as session:
        given = {name: told(function, session.to_device(plain), number) for name, plain in TENSORS.items()}
    assert given == expected


@pytest.mark.parametrize("function", SCALES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("first", TENSORS)
def test_tensors_of_two_dtypes(first, function, device):
    a = TENSORS[first]
    others = {**TENSORS, **{str(dtype): X.to(dtype) for dtype in OTHERS}}
    others |= {f"one {name}": other[2, 3] for name, other in others.items()}
    expected = [(told(function, a, b), told(function, b, a)) for b in others.values()]
    given = []
    with device as session:
        x = session.to_device(a)
        for b in others.values():
            y = session.to_device(b) if b.dtype in (torch.float32, torch.bfloat16, torch.int32, torch.bool) else b
            given.append((told(function, x, y), told(function, y, x)))
    assert dict(zip(others, given, strict=True)) == dict(zip(others, expected, strict=True))


def test_decisions_for_equal_looking_numbers_are_kept_apart(device):
    numbers = [1, True, 1.0, 0, False, 0.0, -0.0, 2, 2.0]
    with device as session:
        x = session.to_device(X)
        given = [str((x * n).tolist()) + str(torch.eq(x, n).dtype) for _ in range(2) for n in numbers]
        whole = session.to_device(TENSORS["int32"])
        dtypes = [(whole * n).dtype for _ in range(2) for n in numbers]
    assert given == [str((X * n).tolist()) + str(torch.eq(X, n).dtype) for _ in range(2) for n in numbers]
    assert dtypes == [(TENSORS["int32"] * n).dtype for _ in range(2) for n in numbers]


def test_numpys_integers_are_sizes_and_dimensions(same_as_cpu):
    same_as_cpu(
        lambda tensor: [
            tensor(X).view(np.int64(6), 2),
            tensor(X).view(torch.Size([2, 6])),
            tensor(X).sum(np.int64(1)),
            tensor(X).expand(np.int32(2), 3, 4),
            tensor(X)[np.int64(1)],
            tensor(X).transpose(np.int8(0), 1),
            tensor(X).sum([0, 1], True),
            tensor(X).sum((0,), dtype=torch.float64),
        ]
    )


@pytest.mark.parametrize("name", ["mul_", "add_", "sub_", "div_", "pow_"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool], ids=str)
def test_an_integer_is_not_overwritten_by_a_float(name, dtype, same_as_cpu):
    same_as_cpu(lambda tensor: getattr(tensor(torch.tensor([1, 0, 1]).to(dtype)), name)(2.7), raises=True)


FROM_INT64 = {
    "a product": lambda x: x * 0.5,
    "a quotient of a view": lambda x: x.view(2, 2) / 4,
    "a sum of a part": lambda x: x[1:] + 0.5,
    "a power": lambda x: x[:2] ** 0.5,
}


@pytest.mark.parametrize("program", FROM_INT64.values(), ids=FROM_INT64)
def test_integers_beyond_int32_that_the_host_wrote_are_floats_on_the_device(program, device):
    plain = torch.tensor([1, 2, 3, 4])
    with device as session:
        x = session.to_device(plain)
        for tensor in (plain, x):
            tensor[1] = 3 << 40
        before = session.report().totals.host
        result = program(x)
        assert session.report().totals.host == before
        assert result.tolist() == program(plain).tolist()


@pytest.mark.parametrize("beta", [0, -1.5, 2.0])
def test_softplus_takes_any_beta(beta, device):
    x = torch.tensor([-3e38, -2.0, 0.0, 0.5, 30.0, 3e38])
    with device as session:
        result = torch.nn.functional.softplus(session.to_device(x), beta)
    torch.testing.assert_close(torch.tensor(result.tolist()), torch.nn.functional.softplus(x, beta), equal_nan=True)
