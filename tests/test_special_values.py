"""Elementwise ops at NaN, infinities, zeros, thresholds and extremes: what CPU gives, to the sign of zero."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import ttreg
from ttreg.registry import registry
from ttreg.samples import Sample
from ttreg.verification.trial import trial

aten = torch.ops.aten

NAN, INF = float("nan"), float("inf")
FAMILIES = (
    *("activation", "activation_backward", "binary", "comparison", "division", "power", "select", "ternary", "unary"),
)
# The tests below say what is special of the last two: a value of one element, and a buffer made of another argument.
OTHERS = (aten.glu.default, aten.masked_fill.Tensor, aten.log_sigmoid_backward.default)

FEW = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 0.3, -0.5, 1e-40, 1e30]
MANY = [*FEW, 0.5, -0.3, 1.5, -2.5, 20.5, -20.5, -1e-40, -1e30, 3.3895e38, -3.3895e38]

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
FLUSHED = 1e-37  # the chip makes zeros of numbers that are not normal

ODD = (
    *(torch.asin, torch.asinh, torch.atan, torch.atanh, torch.sin, torch.sinh, torch.tan, torch.tanh, torch.erf),
    *(torch.erfinv, torch.expm1, torch.log1p, torch.sign, torch.sgn, torch.abs, torch.neg, torch.frac, torch.positive),
    *(torch.round, torch.trunc, torch.ceil, torch.floor, torch.deg2rad, torch.rad2deg, torch.square, torch.sqrt),
    *(F.tanhshrink, F.hardshrink, F.softshrink, F.softsign, F.silu, F.gelu, F.mish, F.hardswish, F.relu, F.relu6),
    *(F.elu, F.celu, F.selu, F.leaky_relu, F.hardtanh, F.logsigmoid, torch.reciprocal),
    lambda x: F.prelu(x, torch.tensor([0.25]).to(x.dtype)),
    lambda x: torch.round(x, decimals=1),
    lambda x: torch.fmod(x, 1.0),
    lambda x: torch.remainder(x, -1.0),
    lambda x: torch.copysign(x, -x),
    lambda x: torch.copysign(x, -0.0),
    lambda x: torch.heaviside(x, -x),
    lambda x: torch.maximum(x, -x),
    lambda x: torch.minimum(x, -x),
    lambda x: torch.fmax(x, -x),
    lambda x: torch.fmin(x, -x),
    lambda x: torch.clamp(x, min=0.0),
    lambda x: torch.clamp(x, max=-0.0),
    lambda x: torch.div(x, 3.0, rounding_mode="trunc"),
    lambda x: torch.div(x, -3.0, rounding_mode="floor"),
    lambda x: x * -0.0,
    lambda x: -x + 0.0,
    lambda x: x - 0.0,
    lambda x: 0.0 - x,
    lambda x: x.sum(),
    lambda x: x[1:2].sum(0, keepdim=True),
    lambda x: x[1:2].mean(0, keepdim=True),
    lambda x: x[1:2].prod(0, keepdim=True),
    lambda x: x.view(8, 8).amax(0),
    lambda x: x[:2].amin(0),
    lambda x: torch.lerp(x, -x, 0.5),
    lambda x: torch.addcmul(x, x, x, value=-1.0),
    lambda x: torch.where(x > 0, x, -x),
    lambda x: torch.nextafter(x, x.neg()),
)

# PyTorch's kernels take whole vectors of contiguous elements, and single elements elsewhere and at the end.
VECTOR = 64

ONE = torch.tensor(1.0)

# Where ttnn's kernels differ from CPU's, and why; by the differing elements' inputs.
EXCEPTIONS = {
    "gelu_backward.default": (
        lambda grad, x, *_: (x.abs() > 20) | (grad.abs() < FLUSHED) | (x.abs() < FLUSHED),
        "ttnn gives the limit where CPU multiplies infinity by 0, and flushes what is small to +0",
    ),
    "softplus_backward.default": (
        lambda grad, x: grad.abs() > 1e29,
        "CPU multiplies the gradient by exp(x) before it divides, which overflows",
    ),
    **dict.fromkeys(
        ("add.Tensor", "sub.Tensor"),
        (lambda a, b=ONE: b.abs() > 1e38, "CPU's multiplication by alpha and addition do not overflow in between"),
    ),
    "rsub.Tensor": (lambda a, b: a.abs() > 1e38, "as add.Tensor"),
    **dict.fromkeys(
        ("fmod.Scalar", "remainder.Scalar"),
        (
            lambda x: x.abs() > 1e38,
            "PyTorch's kernels give NaN or 0, by where an element lies",
        ),
    ),
}


def entries():
    for entry in registry.matching((), "device"):
        if entry.family in FAMILIES and entry.op not in OTHERS:
            yield pytest.param(entry, id=short(entry))


def of_special_values(sample):
    """The sample with every combination of special values, and of its own numbers, in its tensors; None if it has
    integers."""
    tensors = {i: a for i, a in enumerate(sample.args) if isinstance(a, torch.Tensor)}
    if any(a.dtype not in (*TOLERANCES, torch.bool) for a in tensors.values()):
        return None
    numbers = [n for n in (*sample.args, *sample.kwargs.values()) if type(n) in (int, float) and abs(n) < 1e30]
    floats = sum(a.dtype is not torch.bool for a in tensors.values())
    values = [*(MANY if floats < 3 else FEW), *{sign * float(n) for n in numbers for sign in (1, -1)}]
    choices = [[True, False] if a.dtype is torch.bool else values for a in tensors.values()]
    rows = list(itertools.product(*choices))
    rows += rows[: -len(rows) % VECTOR]
    columns = dict(zip(tensors, zip(*rows, strict=True), strict=True))
    args = [torch.tensor(columns[i]).to(a.dtype) if i in columns else a for i, a in enumerate(sample.args)]
    return Sample(*args, **sample.kwargs)


def short(entry):
    return str(entry.op).removeprefix("aten.")


def signature(sample):
    return repr([a.dtype if isinstance(a, torch.Tensor) else a for a in sample.args]), repr(sample.kwargs)


def agree(given, expected):
    """Where two results agree: NaN, infinities and the sign of zero as they are."""
    if not expected.is_floating_point():
        return given == expected
    a, b = given.double(), expected.double()
    near = (a - b).abs() <= TOLERANCES[expected.dtype] * b.abs() + FLUSHED
    signs = (a != 0) | (b != 0) | (a.signbit() == b.signbit())
    return ((a == b) | near | (a.isnan() & b.isnan())) & signs


def one_by_one(entry, sample):
    """What CPU gives of elements that do not lie side by side."""
    apart = [a.repeat_interleave(2)[::2] if isinstance(a, torch.Tensor) else a for a in sample.args]
    result = entry.op(*apart, **sample.kwargs)
    return list(result) if isinstance(result, tuple) else [result]


def in_float32(function, x):
    """What CPU gives in float32, rounded. It depends on its instructions which zero its kernel for bfloat16 gives."""
    return function(x.float()).to(x.dtype)


@pytest.mark.parametrize("entry", entries())
def test_special_values_as_on_cpu(entry):
    tried = set()
    for sample in entry.samples():
        special = of_special_values(sample)
        if special is None or signature(special) in tried:
            continue
        tried.add(signature(special))
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            made = trial(session, entry, special)
        if made.refusal is not None:
            continue
        inputs = [a for a in special.args if isinstance(a, torch.Tensor)]
        excepted, _ = EXCEPTIONS.get(short(entry), (lambda *inputs: ONE > 1, ""))
        for output, whole, single in zip(made.outputs, made.expected, one_by_one(entry, special), strict=True):
            agreeing = agree(output.values, whole.values) | agree(output.values, single) | excepted(*inputs)
            if entry.op is aten.gelu.default:
                agreeing |= agree(output.values, in_float32(partial(entry.op, **special.kwargs), *inputs))
            columns = (*inputs, output.values, whole.values)
            rows = [tuple(t[i].item() for t in columns) for i in (~agreeing).nonzero().flatten().tolist()]
            assert not rows, f"{signature(special)}: {len(rows)} differ, such as (*inputs, given, on CPU) {rows[:5]}"


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("value", FEW)
def test_a_mask_is_filled_with_a_special_value(value, dtype, device):
    x, mask = torch.tensor(MANY).to(dtype), torch.arange(len(MANY)) % 2 == 0
    filled = torch.tensor(value).to(dtype)
    with device as session:
        result = session.to_device(x).masked_fill(session.to_device(mask), filled)
    assert agree(session.read(result), x.masked_fill(mask, filled)).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_nan_to_num_by_special_values(dtype, device):
    """Each of the three is replaced in the tensor as it was, whatever the others were replaced by."""
    x, values = torch.tensor(MANY).to(dtype), (None, NAN, INF, -INF, 0.0, -0.0, 2.5, 3e38)
    with device as session:
        for replaced in itertools.product(values, repeat=3):
            result = session.read(session.to_device(x).nan_to_num(*replaced))
            assert agree(result, torch.ops.aten.nan_to_num(x, *replaced)).all(), replaced


@pytest.mark.parametrize("function", ODD)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_odd_functions_and_roundings_keep_the_sign_of_zero(function, dtype):
    x = torch.tensor([0.0, -0.0, 0.3, -0.3, 1.0, -1.0, 0.5, -0.5] * 8).to(dtype)
    expected, rounded = function(x), in_float32(function, x)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        result = session.read(function(session.to_device(x)))
    assert (agree(result, expected) | agree(result, rounded)).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_gradient_of_log_sigmoid_at_special_values(dtype):
    grad, x = (torch.tensor(column).to(dtype) for column in zip(*itertools.product(MANY, repeat=2), strict=True))
    _, buffer = aten.log_sigmoid_forward(x)
    expected = aten.log_sigmoid_backward(grad, x, buffer)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        result = aten.log_sigmoid_backward(*map(session.to_device, (grad, x, buffer)))
    assert agree(session.read(result), expected).all()


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.1, 0.125, None])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_limits_of_logit_are_of_the_tensors_dtype(dtype, eps, device):
    """In bfloat16, 1 - 1e-6 is 1, of which the result is an infinity."""
    x = torch.tensor([*MANY, 0.999, 1.0] * 3).to(dtype)
    with device as session:
        result = session.to_device(x).logit(eps)
    assert agree(session.read(result), x.logit(eps)).all()


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_gradient_of_smooth_l1_at_special_values(dtype, beta, device):
    """With a beta of 0, equal elements have the gradient -1, and NaN has NaN."""
    x, y = (torch.tensor(column).to(dtype) for column in zip(*itertools.product(FEW, repeat=2), strict=True))
    grad = torch.ones_like(x)
    expected = aten.smooth_l1_loss_backward(grad, x, y, 0, beta)
    with device as session:
        result = aten.smooth_l1_loss_backward(*map(session.to_device, (grad, x, y)), 0, beta)
    assert agree(session.read(result), expected).all()


COMPOSED = {
    "lgamma": (torch.lgamma, torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-30, 30, 200)])),
    "lgamma below 1": (torch.lgamma, 1 - torch.logspace(-7, -1, 100)),
    "lgamma above 2": (torch.lgamma, 2 + torch.logspace(-6, -1, 100)),
    "lgamma far below 0": (torch.lgamma, -torch.logspace(1, 5, 500)),
    "erfc": (torch.erfc, torch.linspace(-6, 9, 1000)),
    "erfinv": (torch.erfinv, torch.cat([torch.linspace(-1, 1, 1000), torch.logspace(-30, 0, 100)])),
    "erfinv next to 1": (torch.erfinv, 1 - torch.logspace(-7, -1, 100)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_functions_are_right_all_along(name, device):
    function, x = COMPOSED[name]
    exact = function(x.double())
    with device as session:
        result = function(session.to_device(x))
    error = (session.read(result) - exact).abs() / exact.abs().clamp(min=1 if name == "lgamma" else 0)
    assert error[exact.isfinite() & (exact != 0)].max() < 2e-5
    assert torch.equal(session.read(result)[~exact.isfinite()], exact[~exact.isfinite()].float())
