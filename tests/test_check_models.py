"""`check=<PCC>` over whole models: a wrong lowering is found by name, and nothing else changes."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import ttreg
from ttreg.conditions import FLOATS

X = torch.linspace(-2, 3, 12).reshape(3, 4)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Network(nn.Module):
    """A convolution with batch norm before two transformer blocks."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(16, 5)

    def forward(self, image):
        return self.head(self.blocks(self.stem(image).flatten(2).mT).mean(1))


def network():
    torch.manual_seed(0)
    return Network(), torch.randn(2, 3, 16, 16), torch.tensor([1, 4])


def step(model, image, labels):
    # The gradient of an attention's key bias is nothing but rounding, which a small eps would make steps of full size.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)
    loss = nn.functional.cross_entropy(model(image), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_right_model_trains_and_predicts_under_the_check(checked):
    model, image, labels = network()
    plain, _, _ = network()
    expected = [step(plain, image, labels) for _ in range(2)]
    with checked:
        losses = [step(model, image, labels) for _ in range(2)]
        with torch.no_grad():
            result = model.eval()(image)
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(torch.tensor(result.tolist()), plain.eval()(image).detach(), rtol=1e-2, atol=1e-2)


def wrong_gelu(tt, self, approximate):
    return tt.tanh(self)


def wrong_gelu_backward(tt, grad_output, self, approximate):
    return tt.multiply(grad_output, self)


def test_a_wrong_lowering_in_a_model_is_found_by_name(checked, replaced):
    model, image, _ = network()
    replaced(ttreg.aten.gelu.default, wrong_gelu)
    with checked, torch.no_grad(), pytest.raises(ttreg.AccuracyError, match=r"aten\.gelu\.default") as caught:
        model.eval()(image)
    error = caught.value
    assert error.op == "aten.gelu.default"
    assert error.lowering == f"{__name__}.wrong_gelu"
    assert "float32[2, 16, 32]" in str(error)
    assert error.snippet in str(error)


def test_a_wrong_lowering_in_the_backward_pass_is_found_by_name(checked, replaced):
    model, image, labels = network()
    op = ttreg.aten.gelu_backward.default
    replaced(op, wrong_gelu_backward)
    with checked, pytest.raises(ttreg.AccuracyError) as caught:
        step(model, image, labels)
    assert (caught.value.op, caught.value.lowering) == (str(op), f"{__name__}.wrong_gelu_backward")


def traced(check, program):
    """What a program leaves behind: results, the report's counts, the state of the generator, warnings."""
    torch.manual_seed(5)
    keywords = {"device": "emulated", "min_upload_numel": 0, "check": check}
    with warnings.catch_warnings(record=True) as caught, ttreg.device_mode(**keywords) as session:
        warnings.simplefilter("always")
        results = program(session)
        times = {"ops": {"__all__": {"seconds"}}, "transfers": {"upload_seconds", "download_seconds"}}
        report = session.report().model_dump(exclude={**times, "checked": True})
    report["ops"].sort(key=str)
    return [r.tolist() for r in results], report, torch.rand(2).tolist(), [str(w.message) for w in caught]


def test_it_leaves_no_trace(private_op):
    op = private_op("noisy(Tensor self) -> Tensor", lambda self: self + torch.rand_like(self) * 1e-3)
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self: tt.add(self, 0))

    def program(session):
        model, image, _ = network()
        model.eval()
        x = session.to_device(X)
        y = op(x).view(12)
        y.mul_(2)
        with torch.no_grad():
            results = [model(image), y, x.t() @ x, nn.functional.dropout(x * 1), x.numpy(), x[1:] + 1]
        return [*results, torch.stack([x, x]).amax(0), torch.topk(x, 2)[0]]

    assert traced(0.99, program) == traced(None, program)


def test_the_other_settings_mean_what_they_mean_without_it(private_op):
    missing = private_op("missing(Tensor self) -> Tensor", lambda self: self + 1)
    keywords = {"device": "emulated", "min_upload_numel": 0, "check": 0.99}
    with ttreg.device_mode(**keywords, on_fallback="raise") as session:
        x = session.to_device(X)
        (x + 1).relu_().sum()  # the comparison itself is no fallback
        with pytest.raises(ttreg.FallbackError, match=r"missing\.default"):
            missing(x)
    with pytest.warns(UserWarning, match=r"missing\.default"), ttreg.device_mode(**keywords, on_fallback="warn") as s:
        missing(s.to_device(X))
