"""A number beside a bfloat16 tensor is rounded to bfloat16 first exactly where CPU does so: every result is CPU's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import ttreg

aten = torch.ops.aten

EVERY = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
X = EVERY[(EVERY.abs() < 1e6) & ((EVERY.abs() > 1e-6) | (EVERY == 0))]
NUMBERS = [0.3, -0.7, 1 / 3, 2.7, 1e-3, 100.3, -3, 257, 1e5 + 0.3]

OPERATIONS = {
    "add": lambda x, n: x + n,
    "sub": lambda x, n: x - n,
    "rsub": lambda x, n: n - x,
    "mul": lambda x, n: x * n,
    "div": lambda x, n: x / n,
    "number divided": lambda x, n: n / x,
    "floor_divide": lambda x, n: x // n,
    "number floor_divided": lambda x, n: n // x,
    "truncated division": lambda x, n: torch.div(x, n, rounding_mode="trunc"),
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "remainder of a number": lambda x, n: n % x,
    "fmod in place": lambda x, n: x.clone().fmod_(n),
    "pow": lambda x, n: x.abs() ** n,
    "power of a number": lambda x, n: abs(n) ** x.clamp(-20, 20),
    "add of a multiple": lambda x, n: torch.add(x, x.flip(0), alpha=n),
    "sub of a multiple": lambda x, n: torch.sub(x, x.flip(0), alpha=n),
    "rsub of a multiple": lambda x, n: torch.rsub(x, x.flip(0), alpha=n),
    "add of a multiple of a number": lambda x, n: torch.add(x, 1.7, alpha=n),
    "clamp": lambda x, n: x.clamp(-abs(n), abs(n)),
    "clamp_min": lambda x, n: x.clamp(min=n),
    "lerp": lambda x, n: torch.lerp(x, x.flip(0), n),
    "addcmul": lambda x, n: torch.addcmul(x, x.flip(0), x.roll(7), value=n),
    "addcdiv": lambda x, n: torch.addcdiv(x, x.flip(0), x.roll(7), value=n),
    "threshold": lambda x, n: F.threshold(x, n, -n),
    "hardtanh": lambda x, n: F.hardtanh(x, -abs(n), abs(n)),
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "celu": lambda x, n: F.celu(x, abs(n)),
    "softplus": lambda x, n: F.softplus(x, abs(n), 5.3),
    "softshrink": lambda x, n: F.softshrink(x, abs(n)),
    "hardshrink": F.hardshrink,
    **{name: getattr(torch, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "xlogy")},
    "xlogy of a number": lambda x, n: torch.xlogy(n, x),
    "where": lambda x, n: torch.where(x > 0, x, n),
    "masked_fill": lambda x, n: x.masked_fill(x > 0, n),
    "fill": lambda x, n: x.clone().fill_(n),
    "full_like": torch.full_like,
    "nan_to_num": torch.nan_to_num,
    "pad": lambda x, n: F.pad(x, (1, 1), value=n),
    "threshold_backward": lambda x, n: aten.threshold_backward(x.flip(0), x, n),
    "hardshrink_backward": lambda x, n: aten.hardshrink_backward(x.flip(0), x, n),
    "softshrink_backward": lambda x, n: aten.softshrink_backward(x.flip(0), x, abs(n)),
    "hardtanh_backward": lambda x, n: aten.hardtanh_backward(x.flip(0), x, -abs(n), abs(n)),
    "leaky_relu_backward": lambda x, n: aten.leaky_relu_backward(x.flip(0), x, n, False),
    "elu_backward": lambda x, n: aten.elu_backward(x.flip(0), n, 1.0, 1.0, False, x),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_bfloat16_beside_a_number(operation):
    function = OPERATIONS[operation]
    for number in NUMBERS:
        expected = function(X, number)
        with ttreg.device_mode(device="emulated", min_upload_numel=0, on_fallback="raise") as session:
            given = function(session.to_device(X), number)
        torch.testing.assert_close(session.read(given), expected, rtol=0, atol=0, equal_nan=True)


OF_A_TENSOR_TOO = (
    *("add", "sub", "rsub", "mul", "div", "number divided", "floor_divide", "number floor_divided"),
    *("truncated division", "fmod", "remainder", "remainder of a number", "pow", "lerp", "where", "masked_fill"),
    *("eq", "ne", "lt", "le", "gt", "ge", "xlogy"),
)


@pytest.mark.parametrize("operation", OF_A_TENSOR_TOO)
def test_every_bfloat16_beside_a_tensor_without_dimensions(operation):
    function = OPERATIONS[operation]
    for number in (torch.tensor(1 / 3), torch.tensor(-100.3), torch.tensor(1001, dtype=torch.int32)):
        try:
            expected = function(X, number)
        except RuntimeError:  # of one dtype only
            continue
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            given = function(session.to_device(X), session.to_device(number))
        torch.testing.assert_close(session.read(given), expected, rtol=0, atol=0, equal_nan=True)


def test_what_is_multiplied_in_place_by_a_tensor_without_dimensions_is_rounded_once(device):
    number = torch.tensor(1 / 3)
    expected = X.clone().mul_(number).div_(number)
    with device as session:
        x = session.to_device(X)
        x.mul_(number).div_(number)
    torch.testing.assert_close(session.read(x), expected, rtol=0, atol=0, equal_nan=True)


class Sent:
    """The numbers that a block sends to ttnn functions of these names."""

    def __init__(self, session, names):
        self.numbers = []
        for name in names:
            setattr(session.device.tt, name, self._noting(getattr(session.device.tt, name)))

    def _noting(self, function):
        def noted(*args, **kwargs):
            self.numbers += [value for value in (*args, *kwargs.values()) if isinstance(value, float)]
            return function(*args, **kwargs)

        return noted


ROUNDED = ("add", "sub", "rsub", "fmod", "remainder", "pow", "power of a number", "softshrink", "hardshrink")
AS_GIVEN = ("mul", "div", "lerp", "threshold", "leaky_relu", "elu", "addcmul")
FUNCTIONS = (
    *("add", "subtract", "rsub", "fmod", "remainder", "pow", "softshrink", "hardshrink", "eq", "gt", "multiply"),
    *("divide", "lerp", "threshold", "leaky_relu", "elu", "addcmul"),
)


@pytest.mark.parametrize("operation", [*ROUNDED, "eq", "gt", *AS_GIVEN])
def test_what_a_chip_is_sent_of_a_number(operation, device):
    """A chip takes numbers in float32, so that it would not round them itself."""
    with device as session:
        x = session.to_device(X)
        sent = Sent(session, FUNCTIONS)
        OPERATIONS[operation](x, 0.3)
    assert (0.3 in sent.numbers) == (operation in AS_GIVEN), sent.numbers
    assert (float(torch.tensor(0.3).bfloat16()) in sent.numbers) == (operation not in AS_GIVEN), sent.numbers


def test_a_number_that_is_zero_keeps_its_sign(device):
    x = torch.tensor([0.0, -0.0]).bfloat16()
    with device as session:
        given = [session.read(session.to_device(x) - zero) for zero in (0.0, -0.0, 0, 0.0)]
    expected = [x - zero for zero in (0.0, -0.0, 0, 0.0)]
    assert [g.signbit().tolist() for g in given] == [e.signbit().tolist() for e in expected]
