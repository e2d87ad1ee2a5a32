"""ttnn's fused attention: where it is used, and that it gives what PyTorch does, within what its kernel is off."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from ttreg.ops import _fused_attention

import ttreg
from ttreg.errors import SettingsError

FUSED = "transformer.scaled_dot_product_attention"
BF16 = torch.bfloat16


def heads(batch=2, query=4, key=4, queries=40, keys=40, width=64, dtype=BF16):
    torch.manual_seed(0)
    shapes = (batch, query, queries, width), (batch, key, keys, width), (batch, key, keys, width)
    return [(torch.rand(shape) * 4 - 2).to(dtype) for shape in shapes]


def mask(*shape, hidden_row=None, dtype=BF16):
    torch.manual_seed(1)
    made = torch.rand(shape).masked_fill(torch.rand(shape) < 0.3, -math.inf)
    made[..., 0] = 0.5
    if hidden_row is not None:
        made[..., hidden_row, :] = -math.inf
    return made.to(dtype)


def attend(watched, given, check=None, **keywords):
    """The result of attention in a block with these keywords, and the names of the ttnn calls."""
    settings = {name: keywords.pop(name) for name in list(keywords) if name in SETTINGS}
    calls = []
    watched(lambda name, *_: calls.append(name))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, **settings) as session, torch.no_grad():
        on_device = [session.to_device(t) for t in given]
        made = F.scaled_dot_product_attention(*on_device, **keywords)
        made = made.clone()
    return made, calls


SETTINGS = ("attention", "precision", "numerics", "float32", "validate", "arch")

CALLS = {
    "full": (heads(), {}),
    "causal": (heads(), {"is_causal": True}),
    "of other lengths": (heads(queries=33, keys=71), {}),
    "one query": (heads(queries=1, keys=71), {}),
    "scaled": (heads(width=32), {"scale": 0.3}),
    "sharing keys": (heads(key=2), {"enable_gqa": True, "is_causal": True}),
    "masked": (heads(), {"attn_mask": mask(40, 40)}),
    "masked by bools": (heads(), {"attn_mask": mask(2, 1, 40, 40) == -math.inf}),
    "masked alike": (heads(queries=33, keys=71), {"attn_mask": mask(2, 1, 1, 71)}),
    "masked by head": (heads(batch=1, keys=64), {"attn_mask": mask(1, 4, 40, 64)}),
    "masked wholly": (heads(), {"attn_mask": mask(40, 40, hidden_row=3)}),
}


@pytest.mark.parametrize("arch", ["wormhole_b0"])
@pytest.mark.parametrize("name", CALLS)
def test_it_gives_what_the_cpu_does(name, arch, watched):
    given, keywords = CALLS[name]
    made, calls = attend(watched, given, attention="fused", validate=True, arch=arch, **keywords)
    assert FUSED in calls
    expected = F.scaled_dot_product_attention(*(t.float() for t in given), **as_float(keywords)).to(BF16)
    torch.testing.assert_close(made, expected, rtol=2e-2, atol=2e-2)


def as_float(keywords):
    given = dict(keywords)
    if "attn_mask" in given and given["attn_mask"].dtype is not torch.bool:
        given["attn_mask"] = given["attn_mask"].float()
    return given


@pytest.mark.parametrize(
    ("settings", "given", "fuses"),
    [
        ({}, {}, False),
        ({"attention": "auto"}, {}, False),
        ({"attention": "fused"}, {}, True),
        ({"attention": "exact"}, {}, False),
        ({"precision": "bfloat16"}, {"dtype": torch.float32}, True),
        ({"precision": "bfloat16", "attention": "exact"}, {"dtype": torch.float32}, False),
        ({"attention": "fused"}, {"dtype": torch.float32}, False),
        ({"attention": "fused"}, {"width": 40}, False),
    ],
)
def test_where_it_is_used(settings, given, fuses, watched):
    _, calls = attend(watched, heads(**given), **settings)
    assert (FUSED in calls) == fuses


@pytest.mark.parametrize("width", [64, 40])
@pytest.mark.parametrize("attention", ["auto", "exact"])
def test_many_scores_are_not_held(attention, width, watched, monkeypatch):
    given = heads(width=width)
    most = 2 * 4 * 40 * 40 * 4
    for limit, fuses in ((most, False), (most - 1, attention == "auto")):
        monkeypatch.setattr(_fused_attention, "MOST_OF_SCORES", limit)
        made, calls = attend(watched, given, attention=attention)
        assert (FUSED in calls) == fuses
        torch.testing.assert_close(made, F.scaled_dot_product_attention(*given), rtol=2e-2, atol=2e-2)


def test_gradients_are_right():
    given = [t.requires_grad_() for t in heads()]
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*(t.float() for t in given)).sum(), given)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, attention="fused") as session:
        leaves = [session.to_device(t.detach()).requires_grad_() for t in given]
        F.scaled_dot_product_attention(*leaves, is_causal=False).sum().backward()
        made = [leaf.grad.clone() for leaf in leaves]
    for gradient, wanted in zip(made, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=5e-2, atol=5e-2)


# The largest errors that were measured of ttnn's kernel with accurate settings, on a simulated chip.
MEASURED = {
    (32, 64): (2.8e-2, 3.8e-2),
    (64, 64): (2.6e-2, 3.6e-2),
    (32, 128): (4.1e-2, 5.0e-2),
    (64, 128): (2.6e-2, 4.4e-2),
}


@pytest.mark.parametrize("size", MEASURED, ids=str)
def test_a_chips_errors_are_foretold(size, watched):
    length, width = size
    given = heads(batch=1, query=2, key=2, queries=length, keys=length, width=width)
    for is_causal, measured in zip((False, True), MEASURED[size], strict=True):
        made, _ = attend(watched, given, attention="fused", numerics="chip", is_causal=is_causal)
        exact = F.scaled_dot_product_attention(*(t.double() for t in given), is_causal=is_causal)
        assert measured / 2 < float((made.double() - exact).abs().max()) < measured * 2
        composed, _ = attend(watched, given, attention="exact", numerics="chip", is_causal=is_causal)
        assert float((composed.double() - exact).abs().max()) < 1.2e-2


@pytest.mark.parametrize("name", ["masked", "masked wholly", "masked alike"])
def test_a_chip_hides_what_the_mask_hides(name, watched):
    given, keywords = CALLS[name]
    made, _ = attend(watched, given, attention="fused", numerics="chip", **keywords)
    expected = F.scaled_dot_product_attention(*(t.float() for t in given), **as_float(keywords)).to(BF16)
    torch.testing.assert_close(made, expected, rtol=6e-2, atol=6e-2)


def test_an_unknown_value_is_refused():
    with pytest.raises(SettingsError, match="attention is 'flash'; expected one of 'auto', 'fused', 'exact'"):
        ttreg.device_mode(attention="flash")


def test_the_environment_sets_it(monkeypatch, watched):
    monkeypatch.setenv("TTREG_ATTENTION", "fused")
    assert FUSED in attend(watched, heads())[1]
