"""float32="exact": what is within 1e-5 then, on a device that computes as the chip does, and what it costs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ttreg
from ttreg.devices import open_device
from ttreg.exact import cost, products
from ttreg.explain.why import Oracle
from ttreg.meta import intern
from ttreg.settings import Settings

aten = torch.ops.aten


def normal(*shape, seed=0, scale=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def on_chip(function, *args, float32="exact", **keywords):
    """What the function gives on a device with the chip's numerics."""
    keywords = {"device": "emulated", "numerics": "chip", "min_upload_numel": 0, "on_fallback": "raise"} | keywords
    with ttreg.device_mode(float32=float32, **keywords), torch.no_grad():
        return tuple(map(torch.clone, made)) if isinstance(made := function(*args), tuple) else made.clone()


def doubled(values):
    return values.double() if isinstance(values, torch.Tensor) else values


def off(made, function, *args):
    """The largest error of a product, as a share of that of the factors' absolute values."""
    exact = function(*map(doubled, args))
    most = function(*(a.double().abs() if isinstance(a, torch.Tensor) else a for a in args))
    return float(((made.double() - exact).abs() / most).max())


def attention(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, **options)


PRODUCTS = {
    "vectors": (torch.dot, (64,), (64,)),
    "matrix and vector": (torch.mv, (40, 64), (64,)),
    "vector and matrix": (torch.matmul, (64,), (64, 33)),
    "batch and vector": (torch.matmul, (2, 40, 64), (64,)),
    "matrices": (torch.mm, (64, 96), (96, 33)),
    "matrices that fill no tile": (torch.mm, (5, 33), (33, 7)),
    "turned round": (lambda a, b: a.t() @ b.t(), (96, 40), (33, 96)),
    "batches": (torch.bmm, (3, 40, 64), (3, 64, 33)),
    "batches of batches": (torch.matmul, (2, 3, 5, 64), (2, 3, 64, 33)),
    "five dimensions": (torch.matmul, (2, 1, 3, 5, 33), (2, 1, 3, 33, 7)),
    "batch and matrix": (torch.matmul, (2, 3, 40, 64), (64, 33)),
    "repeated batch": (torch.matmul, (2, 1, 5, 64), (3, 64, 33)),
    "einsum": (lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b), (2, 3, 9, 16), (2, 3, 8, 16)),
    "linear": (F.linear, (5, 64), (33, 64), (33,)),
    "linear of a batch": (F.linear, (2, 3, 64), (33, 64)),
    "one row": (F.linear, (1, 64), (33, 64), (33,)),
    "addmm": (lambda c, a, b: torch.addmm(c, a, b, alpha=2, beta=0.5), (5, 33), (5, 64), (64, 33)),
    "addmv": (torch.addmv, (5,), (5, 64), (64,)),
    "baddbmm": (lambda c, a, b: torch.baddbmm(c, a, b, beta=2), (3, 5, 33), (3, 5, 64), (3, 64, 33)),
    "addbmm": (torch.addbmm, (5, 33), (3, 5, 64), (3, 64, 33)),
}


@pytest.mark.parametrize("at_once", [2**25, 2**13, 0], ids=["at once", "in steps", "by parts"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name, at_once, monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", at_once)
    monkeypatch.setattr(products, "MOST_STEPS", 64)
    function, *shapes = PRODUCTS[name]
    args = [normal(*shape, seed=n) for n, shape in enumerate(shapes)]
    assert off(on_chip(function, *args), function, *args) < 1e-6
    assert off(on_chip(function, *args, float32="fast"), function, *args) > 1e-4


@pytest.mark.parametrize("at_once", [2**25, 0], ids=["at once", "by parts"])
@pytest.mark.parametrize("function", [torch.mm, lambda a, b: F.linear(a, b.t().contiguous())], ids=["mm", "linear"])
def test_products_of_wide_rows(function, at_once, monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", at_once)
    a, b = normal(32, 512), normal(512, 32, seed=1)
    scales = 10 ** (-6 * torch.rand(512, generator=torch.Generator().manual_seed(2)))
    apart = 10 ** (-6 * torch.rand(512, 32, generator=torch.Generator().manual_seed(3)))
    with_zeros = b.clone()
    with_zeros[3], with_zeros[:, 5] = 0, 0
    heavy = a**5, b**5
    for first, second in (
        (a * scales, b / scales[:, None]),
        (a * scales, b),
        (a, b * apart),
        (a * 1e-20, b * 1e25),
        heavy,
    ):
        assert off(on_chip(function, first, second), function, first, second) < 1e-5
    made, exact = on_chip(function, a, with_zeros), a.double() @ with_zeros.double()
    assert (made - exact).abs().max() < 1e-4
    assert not made[:, 5].any()


def test_parts_that_would_round_up_to_the_next_power_of_two(monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", 0)
    # 1.969 is 31.504 / 16, so that a part of 5 bits would be 32 / 16; 1.993 is the same to 7 bits.
    a, b = normal(64, 96).clamp(-1.9, 1.9), normal(96, 64, seed=1).clamp(-1.9, 1.9)
    a[:, 0], b[0] = 1.993, 1.969
    assert off(on_chip(torch.mm, a, b), torch.mm, a, b) < 3e-7


def test_small_products_have_pytorchs_infinities():
    a, b = normal(3, 8), normal(8, 4, seed=1)
    a[0, 1], a[1, 2], b[3, 0] = torch.inf, torch.nan, -torch.inf
    assert torch.allclose(on_chip(torch.mm, a, b), a @ b, equal_nan=True)


CONVOLUTIONS = {
    "3 x 3": (F.conv2d, (2, 32, 12, 10), (40, 32, 3, 3), (40,), {"padding": 1}),
    "few channels": (F.conv2d, (1, 3, 40, 40), (16, 3, 7, 7), (16,), {"padding": 3, "stride": 2}),
    "1 x 1": (F.conv2d, (2, 33, 9, 9), (40, 33, 1, 1), (40,), {}),
    "1 x 1, a step apart": (F.conv2d, (2, 33, 9, 9), (40, 33, 1, 1), (40,), {"stride": 2, "padding": 1}),
    "patches": (F.conv2d, (1, 3, 50, 48), (8, 3, 16, 16), (8,), {"stride": 16}),
    "dilated": (
        F.conv2d,
        (1, 5, 17, 14),
        (8, 5, 3, 2),
        (8,),
        {"dilation": (2, 3), "padding": (2, 1), "stride": (2, 1)},
    ),
    "each channel by itself": (F.conv2d, (2, 12, 17, 14), (12, 1, 3, 3), (12,), {"padding": 1, "groups": 12}),
    "two of each channel": (F.conv2d, (2, 12, 17, 14), (24, 1, 3, 3), (24,), {"padding": 1, "groups": 12}),
    "groups": (F.conv2d, (2, 12, 17, 14), (8, 3, 3, 3), (8,), {"padding": 1, "groups": 4}),
    "a sequence": (F.conv1d, (2, 12, 50), (8, 12, 5), (8,), {"padding": 2, "stride": 2}),
    "a long kernel": (F.conv1d, (2, 2, 90), (4, 2, 40), (4,), {"stride": 10}),
    "transposed": (F.conv_transpose2d, (2, 12, 7, 9), (12, 8, 3, 3), (8,), {"stride": 2, "output_padding": 1}),
    "transposed, in groups": (F.conv_transpose1d, (2, 12, 9), (12, 3, 4), (6,), {"stride": 3, "groups": 2}),
}


@pytest.mark.parametrize("at_once", [2**25, 0], ids=["at once", "by parts"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, at_once, monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", at_once)
    function, *shapes, options = CONVOLUTIONS[name]
    args = [normal(*shape, seed=n) for n, shape in enumerate(shapes)]

    def convolve(*args):
        return function(*args, **options)

    assert off(on_chip(convolve, *args), convolve, *args) < 1e-6
    assert off(on_chip(convolve, *args, float32="fast"), convolve, *args) > 1e-4


OTHERS = {
    "softmax": (lambda x: x.softmax(-1), (5, 40)),
    "softmax of columns": (lambda x: x.softmax(0), (5, 40)),
    "log_softmax": (lambda x: x.log_softmax(1), (5, 40, 3)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (40,), w, b), (64, 40), (40,), (40,)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (2, 6, 5, 7), (6,), (6,)),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, None, True), (4, 6, 5, 7), (6,)),
    "attention": (attention, (2, 4, 40, 32), (2, 4, 33, 32), (2, 4, 33, 32)),
    "masked attention": (lambda q, k, v, m: attention(q, k, v, attn_mask=m), *[(2, 4, 9, 8)] * 3, (9, 9)),
    "causal attention": (lambda q, k, v: attention(q, k, v, is_causal=True, scale=0.3), *[(2, 4, 40, 32)] * 3),
    "grouped heads": (lambda q, k, v: attention(q, k, v, enable_gqa=True), (2, 4, 9, 8), (2, 2, 7, 8), (2, 2, 7, 8)),
    "interpolation": (lambda x: F.interpolate(x, size=(13, 17), mode="bilinear"), (1, 3, 9, 9)),
    "bicubic interpolation": (lambda x: F.interpolate(x, size=(13, 17), mode="bicubic"), (1, 3, 9, 9)),
    "smooth interpolation": (lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", antialias=True), (1, 3, 9, 9)),
    "uneven pooling": (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), (1, 3, 9, 9)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_softmax_norms_attention_and_interpolation(name):
    function, *shapes = OTHERS[name]
    args = [normal(*shape, seed=n, scale=2) for n, shape in enumerate(shapes)]
    exact = function(*map(doubled, args))
    # Interpolation by PyTorch in float32 is as far off as that, since it finds its places in float32.
    assert (on_chip(function, *args, on_fallback="allow") - exact).abs().max() < 1e-5


@pytest.mark.parametrize("mean", [100, 1e4])
def test_norms_of_numbers_far_from_zero(mean):
    x = normal(9, 32) + mean
    exact = F.layer_norm(x.double(), (32,))
    assert (on_chip(lambda x: F.layer_norm(x, (32,)), x) - exact).abs().max() < 1e-5


def test_softmax_of_what_is_infinite_or_nan():
    inf, nan = torch.inf, torch.nan
    x = torch.tensor([[1.0, -inf, 2.0], [-inf, -inf, -inf], [inf, 1.0, 2.0], [nan, 1.0, 2.0], [88.0, -88.0, 3e38]])
    for dim in (0, 1):
        assert torch.allclose(on_chip(lambda x, dim=dim: x.softmax(dim), x), x.softmax(dim), equal_nan=True)


MODELS = {
    "layers": (nn.Sequential(nn.Linear(16, 40), nn.Tanh(), nn.Linear(40, 5)), (9, 16)),
    "LSTM": (nn.LSTM(12, 16), (3, 2, 12)),
    "GRU": (nn.GRU(12, 16), (3, 2, 12)),
    "encoder": (nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0), (5, 2, 16)),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name):
    model, shape = MODELS[name]

    def gradients(dtype):
        net, x = copy.deepcopy(model).to(dtype), normal(*shape).to(dtype).requires_grad_()
        made = net(x)
        (made[0] if isinstance(made, tuple) else made).square().sum().backward()
        return [tensor.grad.detach().double() for tensor in (x, *net.parameters())]

    exact = gradients(torch.float64)
    errors = {}
    for float32 in ("exact", "fast"):
        with ttreg.device_mode(device="emulated", numerics="chip", float32=float32, min_upload_numel=0):
            made = [grad.clone() for grad in gradients(torch.float32)]
        errors[float32] = max(
            float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in zip(made, exact, strict=True)
        )
    assert errors["exact"] < 1e-5
    assert errors["fast"] > 1e-4


@pytest.mark.parametrize("at_once", [2**25, 2**13, 0], ids=["at once", "in steps", "by parts"])
def test_ttnn_takes_every_call(at_once, monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", at_once)
    monkeypatch.setattr(products, "MOST_STEPS", 64)
    for function, *shapes in (*PRODUCTS.values(), OTHERS["masked attention"], OTHERS["layer_norm"]):
        args = [normal(*shape, seed=n) for n, shape in enumerate(shapes)]
        made = on_chip(function, *args, numerics="golden", validate=True)
        torch.testing.assert_close(made, function(*args), rtol=1e-4, atol=1e-4)


@pytest.fixture
def counted(monkeypatch):
    """Runs a function on the emulated device, and gives what it gives and how many ttnn calls it took."""

    def run(function, *args, **keywords):
        settings = Settings(device="emulated", numerics=keywords.get("numerics", "golden"))
        device, calls = open_device(settings), []

        class Counting:
            def __getattr__(self, name):
                found = getattr(tt, name)
                if not callable(found) or isinstance(found, type):
                    return found
                return lambda *a, **k: calls.append(name) or found(*a, **k)

        tt = device.tt
        with monkeypatch.context() as patch:
            patch.setattr(device, "tt", Counting())
            made = on_chip(function, *args, **({"numerics": "golden"} | keywords))
        return made, calls

    return run


def test_golden_values_are_the_same_and_cost_the_same(counted):
    model = nn.Sequential(
        nn.Linear(64, 40), nn.LayerNorm(40), nn.Softmax(-1), nn.Unflatten(1, (1, 40)), nn.Conv1d(1, 2, 3)
    )
    x = normal(9, 64)
    fast, exact = (counted(model, x, float32=float32) for float32 in ("fast", "exact"))
    assert torch.equal(fast[0], exact[0])
    assert fast[1] == exact[1]


def test_weights_are_split_once(counted, monkeypatch):
    monkeypatch.setattr(products, "MOST_AT_ONCE", 0)
    layer = nn.Linear(64, 40)
    twice = nn.Sequential(layer, nn.Linear(40, 64), layer)
    x = normal(9, 64)
    calls = [len(counted(lambda x, n=n: twice[:n](x), x, numerics="chip")[1]) for n in (1, 2, 3)]
    assert calls[2] - calls[1] < 30 < calls[0]


def test_what_weights_are_split_into_is_kept_up_to_so_many_bytes(monkeypatch):
    from ttreg.memory import uploads

    monkeypatch.setattr(products, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(uploads, "_MOST_OF_SPLIT", 100_000)
    torch.manual_seed(0)
    layers = [nn.Linear(64, 40) for _ in range(3)]
    x = normal(9, 64)
    with ttreg.device_mode(device="emulated", numerics="chip", float32="exact", min_upload_numel=0) as session:
        kept = session.uploads._split
        with torch.no_grad():
            made = [layer(x).clone() for layer in (*layers, *layers)]
            assert (len(kept), kept.nbytes <= 100_000) == (1, True)
            layers[0].weight.mul_(2)
            made += [layer(x).clone() for layer in layers]
            assert (len(kept), kept.nbytes <= 100_000) == (1, True)
    for n, result in enumerate(made):
        weight, bias = (parameter.detach() for parameter in layers[n % 3].parameters())
        assert off(result, F.linear, x, weight / 2 if n in (0, 3) else weight, bias) < 1e-6


def test_what_costs_too_much_is_the_hosts(monkeypatch):
    monkeypatch.setattr(cost, "MOST_BYTES", 2**16)
    with ttreg.device_mode(device="emulated", numerics="chip", float32="exact", min_upload_numel=0) as session:
        normal(33, 512) @ normal(512, 1)
        normal(3, 4) @ normal(4, 5)
    rows = {(row.op, row.placement): row for row in session.report().ops}
    # A product that the device runs arrives whole; one that it refuses is the host's as what it is composed of.
    host, device = rows["aten.mm.default", "host"], rows["aten.matmul.default", "device"]
    assert (host.count, device.count) == (1, 1)
    assert host.condition == cost.TOO_MANY_BYTES.condition
    assert host.got


def test_a_call_too_many_is_the_hosts_too():
    settings = Settings(device="emulated", float32="exact")
    weight, image = intern(torch.float32, (2, 2, 300), (600, 300, 1)), intern(torch.float32, (1, 2, 400), (800, 400, 1))
    arguments = (image, weight, None, [1], [0], [1], False, [0], 1)
    answer = Oracle(settings).ask(aten.convolution.default, arguments, {})
    assert (answer.placement, answer.condition) == ("host", cost.TOO_MANY_CALLS.condition)
    assert int(answer.got) > cost.MOST_CALLS
    assert Oracle(Settings(device="emulated")).ask(aten.convolution.default, arguments, {}).placement == "device"


def test_bfloat16_and_block_floats_are_products_of_the_unit(counted):
    a, b = normal(40, 64).bfloat16(), normal(64, 33, seed=1).bfloat16()
    assert counted(torch.mm, a, b, numerics="chip")[1] == ["matmul"]
    layer = nn.Linear(64, 40, bias=False)
    ttreg.carry_in(layer, "bfloat8_b")
    assert counted(layer, normal(9, 64), numerics="chip")[1].count("linear") == 1


def test_the_report_names_the_setting():
    reports = {}
    for float32 in ("fast", "exact"):
        with ttreg.device_mode(device="emulated", float32=float32) as session:
            pass
        reports[float32] = session.report()
        assert reports[float32].device.float32 == float32
    assert ", float32 exact\n" in str(reports["exact"])
    assert "float32" not in str(reports["fast"])


def test_a_compiled_model_takes_the_setting():
    a, b = normal(40, 64), normal(64, 33, seed=1)
    options = {"device": "emulated", "numerics": "chip", "min_upload_numel": 0}
    try:
        made = {
            float32: torch.compile(torch.mm, backend="ttreg", options=options | {"float32": float32})(a, b)
            for float32 in ("exact", "fast")
        }
    finally:
        torch._dynamo.reset()
    assert off(made["exact"], torch.mm, a, b) < 1e-6
    assert off(made["fast"], torch.mm, a, b) > 1e-4


class Tied(nn.Module):
    """One weight that is looked up, multiplied with, and read by itself."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(normal(40, 64))

    def forward(self, places):
        found = F.embedding(places, self.table)
        return found, F.linear(found, self.table), self.table * 2, found @ self.table.t()


def kept(values, bits):
    """Which of the values have so many bits of mantissa."""
    return (values.view(torch.int32) & ((1 << (23 - bits)) - 1)) == 0


def test_weights_are_rounded_for_products_alone():
    model, places = Tied(), torch.arange(32).view(4, 8)
    whole = model.table.detach().clone()
    found, by_linear, twice, by_matmul = on_chip(model, places, float32="fast")
    assert torch.equal(found, whole[places])
    assert torch.equal(twice, whole * 2)
    assert torch.equal(model.table, whole)
    exact = whole.double()[places] @ whole.double().t()
    for made in (by_linear, by_matmul):
        assert float(((made - exact) * exact).sum() / exact.square().sum()) > -6e-4  # with cut weights: -1.1e-3


def test_a_rounded_weight_is_the_nearest_that_the_unit_keeps():
    from ttreg.runtime.rounding import rounded

    largest = torch.finfo(torch.float32).max
    ties = torch.tensor([1 + 2**-10, 1 + 3 * 2**-10, -1 - 2**-10, 1 + 2**-10 + 2**-20])
    assert rounded(ties, 9).tolist() == [1.0, 1 + 2**-8, -1.0, 1 + 2**-9]
    odd = torch.tensor([torch.inf, -torch.inf, 0.0, -0.0, largest])
    assert rounded(odd, 9).tolist()[:4] == odd.tolist()[:4]
    assert torch.signbit(rounded(odd, 9)).tolist() == torch.signbit(odd).tolist()
    assert rounded(odd, 9)[4].isfinite()
    assert rounded(torch.tensor([torch.nan]), 9).isnan()
    values = normal(1000)
    for bits in (9, 10):
        near = rounded(values, bits)
        assert kept(near, bits).all()
        assert ((near - values).abs() <= values.abs() * 2.0 ** (-bits - 1)).all()
        beside = torch.cat((values, torch.tensor([torch.inf])))  # which is looked for
        assert torch.equal(rounded(beside, bits)[:-1], near)
        huge = values * (largest / 2 / values.abs().max())
        assert torch.equal(rounded(huge, bits), rounded(huge * 2.0**-20, bits) * 2.0**20)


@pytest.mark.parametrize("numerics", ["chip", "golden"])
def test_what_the_device_holds_of_a_weight(numerics, monkeypatch):
    uploads = []
    device = open_device(Settings(device="emulated", numerics=numerics))
    upload = device.upload
    monkeypatch.setattr(device, "upload", lambda host, *rest: uploads.append(host.clone()) or upload(host, *rest))
    layer, x = nn.Linear(64, 40), normal(9, 64)
    on_chip(layer, x, numerics=numerics, float32="fast")
    (weight,) = (host for host in uploads if host.numel() == 64 * 40)
    (bias,) = (host for host in uploads if host.shape == (40,))
    assert bool(kept(weight, 9).all()) == (numerics == "chip")
    assert torch.equal(bias, layer.bias.detach())
    assert any(torch.equal(host, x) for host in uploads)


def test_a_weight_that_changes_is_rounded_anew():
    layer, x = nn.Linear(64, 40), normal(9, 64)
    with ttreg.device_mode(device="emulated", numerics="chip", min_upload_numel=0), torch.no_grad():
        layer(x)
        layer.weight.mul_(1.25)
        made = layer(x).clone()
    assert off(made, F.linear, x, layer.weight.detach(), layer.bias.detach()) < 3e-3


def test_rounding_takes_no_call_and_convolutions_are_nearer(counted):
    layer, x = nn.Conv2d(32, 40, 3, padding=1), normal(2, 32, 12, 10)
    made, calls = counted(layer, x, numerics="chip", float32="fast")
    assert calls == counted(layer, x, float32="fast")[1]
    with torch.no_grad():
        exact = copy.deepcopy(layer).double()(x.double())
    cut = counted(F.conv2d, x, layer.weight.detach(), layer.bias.detach(), 1, 1, numerics="chip", float32="fast")[0]
    assert (made - exact).norm() < 0.75 * (cut - exact).norm()
