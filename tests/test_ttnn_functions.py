"""`ttnn_function`: functions of ttnn tensors as ops of PyTorch, on the emulated device and in real ttnn."""

from __future__ import annotations

import pytest
import torch
import ttnn
from torch import nn

import ttreg

DEVICES = {"emulated": {"device": "emulated"}, "validated": {"device": "emulated", "validate": True}}


def gated_gradients(grad, x, gate, scale):
    return ttnn.multiply(ttnn.multiply(grad, gate), scale), ttnn.multiply(ttnn.multiply(grad, x), scale)


@ttreg.ttnn_function(backward=gated_gradients, host=lambda x, gate, scale: x * gate * scale)
def gated(x, gate, scale=1.0):
    return ttnn.multiply(x * gate, scale, memory_config=ttnn.L1_MEMORY_CONFIG)


@ttreg.ttnn_function(outputs=2)
def softmax_and_sum(x, dim: int = -1):
    total = ttnn.to_layout(ttnn.sum(x, dim=dim), ttnn.ROW_MAJOR_LAYOUT)
    return ttnn.softmax(x, dim=dim), total


@ttreg.ttnn_function
def joined(parts: list[torch.Tensor], bias: torch.Tensor | None = None):
    whole = ttnn.concat(parts, dim=0)
    return whole if bias is None else ttnn.add(whole, bias)


def block(**settings):
    return ttreg.device_mode(**({"device": "emulated", "min_upload_numel": 0} | settings))


@pytest.mark.parametrize("settings", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_it_gives_what_its_ttnn_calls_give_in_every_grad_mode(settings, grad_mode):
    x, gate = torch.randn(5, 7), torch.randn(5, 7)
    with grad_mode(), block(**settings) as session:
        result = gated(torch.relu(x), gate, scale=3.0)
        share, total = softmax_and_sum(x)
        assert isinstance(result, ttreg.DeviceTensor)
    assert torch.allclose(result, torch.relu(x) * gate * 3)
    assert torch.allclose(share, x.softmax(-1), atol=1e-6)
    assert torch.allclose(total, x.sum(-1), atol=1e-5)
    rows = {row.op: row for row in session.report().ops}
    row = rows[str(gated.op)]
    assert (row.placement, row.count) == ("device", 1)
    assert row.work.calls >= 2


@pytest.mark.parametrize("settings", DEVICES.values(), ids=DEVICES)
def test_gradients_are_those_of_its_backward(settings):
    def loss(x, gate, multiply):
        return (multiply(torch.tanh(x), gate) ** 2).sum()

    x, gate = torch.randn(4, 3, requires_grad=True), nn.Parameter(torch.randn(4, 3))
    expected = torch.autograd.grad(loss(x, gate, lambda a, b: a * b * 2), (x, gate))
    with block(**settings) as session:
        found = torch.autograd.grad(loss(x, gate, lambda a, b: gated(a, b, 2.0)), (x, gate))
    for got, wanted in zip(found, expected, strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)
    assert any("gated_backward" in row.op and row.placement == "device" for row in session.report().ops)


def test_only_the_gradients_that_are_wanted_reach_the_arguments():
    x, gate = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    with block():
        gated(x, gate, 2.0).sum().backward()
    assert torch.allclose(x.grad, gate * 2)
    assert gate.grad is None


def test_without_a_backward_the_gradient_is_refused_and_not_zero():
    x = torch.randn(3, 3, requires_grad=True)
    with block(), pytest.raises(RuntimeError, match="has no `backward`"):
        softmax_and_sum(x)[0].sum().backward()
    with block():
        (gradient,) = torch.autograd.grad(gated(x, x, 1.0).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="no second derivative"):
            gradient.sum().backward()


@pytest.mark.parametrize("settings", DEVICES.values(), ids=DEVICES)
def test_a_recording_replays_it(settings):
    weight = nn.Parameter(torch.randn(6, 6))
    with torch.no_grad(), block(**settings) as session:
        step = session.record(lambda x: torch.relu(gated(x, weight, 0.5)) + 1)
        for _ in range(5):
            x = torch.randn(6, 6)
            assert torch.allclose(step(x), torch.relu(x * weight * 0.5) + 1)
        weight.mul_(2)
        assert torch.allclose(step(x), torch.relu(x * weight * 0.5) + 1)
    assert session.report().recorded[0].replays > 0


def test_a_recording_does_not_freeze_what_it_reads_with_ttnn():
    @ttreg.ttnn_function
    def shifted(x):
        most = float(ttnn.to_torch(x).max())
        return ttnn.subtract(x, most)

    with torch.no_grad(), block() as session:
        step = session.record(lambda x: shifted(torch.relu(x)))
        for _ in range(4):
            x = torch.randn(4, 4)
            assert torch.equal(step(x), torch.relu(x) - torch.relu(x).max())


def test_lists_of_tensors_and_optional_ones():
    a, b = torch.randn(2, 3), torch.randn(4, 3)
    with block():
        assert torch.equal(joined([a, b]), torch.cat([a, b]))
        assert torch.equal(joined([a, b], torch.ones(3)), torch.cat([a, b]) + 1)


def test_views_images_and_other_forms_arrive_in_pytorchs_order():
    conv, image = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    with torch.no_grad(), block():
        found = conv(image)
        assert torch.equal(gated(found, found.relu(), 1.0), found * found.relu())
        turned = (image + 1).permute(0, 2, 3, 1)
        assert torch.equal(gated(turned, turned, 1.0), turned * turned)


def test_results_have_the_dtype_of_the_arguments_under_precision():
    with block(precision="bfloat16"):
        x = torch.randn(4, 4)
        assert gated(x, x, 1.0).dtype is torch.float32
        assert gated(x.bfloat16(), x.bfloat16(), 1.0).dtype is torch.bfloat16


def test_the_same_signature_may_give_other_shapes_later():
    sizes = iter((2, 3, 4))

    @ttreg.ttnn_function
    def first(x):
        return x[: next(sizes)]

    with block():
        x = torch.randn(5, 5)
        for size in (2, 3, 4):
            assert torch.equal(first(x), x[:size])


def test_outside_of_blocks_and_for_what_ttnn_does_not_take_the_host_has_its_function():
    x = torch.randn(3, 3)
    assert torch.equal(gated(x, x, 2.0), x * x * 2)
    with pytest.raises(ttreg.DeviceError, match="needs `host=`"):
        softmax_and_sum(x)
    with block() as session:
        double = gated(x.double(), x.double(), 2.0)
        assert gated(torch.empty(0, 3), torch.empty(0, 3), 1.0).shape == (0, 3)
        with pytest.raises(ValueError, match="every tensor has a ttnn dtype, got float64"):
            softmax_and_sum(x.double())
    assert torch.equal(double, x.double() * x.double() * 2)
    assert any(row.op == str(gated.op) and row.placement == "host" for row in session.report().ops)


def test_check_compares_with_the_function_of_the_host():
    @ttreg.ttnn_function(host=lambda x: x.exp())
    def wrong(x):
        return ttnn.square(x)

    x = torch.randn(8, 8)
    with block(check=0.999):
        gated(x, x, 1.0)
        softmax_and_sum(x)  # there is nothing to compare with
        with pytest.raises(ttreg.AccuracyError, match="wrong"):
            wrong(x * torch.arange(8.0))


def test_errors_name_the_function_and_what_ttnn_refused():
    @ttreg.ttnn_function
    def broken(x):
        raise KeyError("no such thing")

    @ttreg.ttnn_function
    def refused(x):
        return ttnn.matmul(x, ttnn.reshape(x, [1, 9]))

    @ttreg.ttnn_function(outputs=2)
    def too_few(x):
        return x

    x = torch.randn(3, 3)
    with block():
        with pytest.raises(ttreg.LoweringError, match=r"broken of ttnn_function\.broken\.default failed: KeyError"):
            broken(x)
        with pytest.raises(ttreg.DeviceError, match=r"ttnn\.matmul"):
            refused(x)
        with pytest.raises(ttreg.LoweringError, match="returned 1 values where 2 were expected"):
            too_few(x)


def test_signatures_that_no_op_can_have_are_refused():
    for function in (lambda *x: x, lambda **x: x, lambda: None, lambda n=1: n):
        with pytest.raises(TypeError):
            ttreg.ttnn_function(function)
    with pytest.raises(TypeError, match="decorates functions"):
        ttreg.ttnn_function(3)
    with pytest.raises(TypeError, match="list of tensors"):
        ttreg.ttnn_function(backward=gated_gradients)(joined.__wrapped__)


def test_a_function_defined_again_is_the_new_one():
    def define(step):
        @ttreg.ttnn_function
        def moved(x):
            return ttnn.add(x, step)

        return moved

    first, second = define(1.0), define(2.0)
    x = torch.randn(2, 2)
    with block():
        assert torch.equal(first(x), x + 1)
        assert torch.equal(second(x), x + 2)


def test_a_trace_has_it(tmp_path):
    path = tmp_path / "t.json"
    with block(trace=str(path)):
        gated(torch.ones(2, 2), torch.ones(2, 2), 1.0)
    assert str(gated.op) in path.read_text()


def test_real_ttnn_runs_it_as_it_is():
    x = torch.randn(5, 7, requires_grad=True)
    with block(device="mock") as session:
        gated(x, torch.randn(5, 7), 2.0).sum().backward()
        softmax_and_sum(x)
    report = session.report()
    assert x.grad.shape == (5, 7)
    assert report.totals.host_float == 0
    assert report.device_calls["multiply"] >= 4
