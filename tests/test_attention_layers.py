"""Attention layers of `torch.nn` give at inference what PyTorch's fused kernels give on CPU, padding included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
X = torch.linspace(-1, 1, 2 * 10 * 16).reshape(2, 10, 16).sin()
PADDINGS = {
    "none": torch.zeros(2, 10, dtype=torch.bool),
    "at the end": torch.arange(10) >= torch.tensor([[10], [6]]),
    "at the start": torch.arange(10) < torch.tensor([[0], [4]]),
    "a whole sequence": torch.tensor([[False], [True]]).expand(2, 10),
}


def agree(program, device, without_grad=torch.no_grad):
    with without_grad():
        expected = program(X)
        with device as session:
            given = program(session.to_device(X))
    for one, other in zip(given, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.stride() == other.stride()
            torch.testing.assert_close(torch.tensor(one.tolist()), other, rtol=1e-4, atol=1e-5, equal_nan=True)
    return session.report()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("final_norm", [False, True])
@pytest.mark.parametrize("without_grad", [torch.no_grad, torch.inference_mode])
def test_an_encoder_with_padding(padding, final_norm, without_grad, device):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    norm = nn.LayerNorm(16) if final_norm else None
    if norm is not None:
        nn.init.constant_(norm.bias, 0.5)
    encoder = nn.TransformerEncoder(layer, 2, norm).eval()
    mask = PADDINGS[padding]
    report = agree(lambda x: [encoder(x, src_key_padding_mask=mask)], device, without_grad)
    assert not report.totals.host_float, str(report)


def test_an_encoder_with_padding_that_is_given_as_numbers(device):
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    mask = torch.zeros(2, 10).masked_fill(PADDINGS["at the end"], float("-inf"))
    agree(lambda x: [encoder(x, src_key_padding_mask=mask)], device)


def outcome(program, x):
    try:
        return program(x)
    except RuntimeError as error:
        return str(error)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{"nests": True}, {"nests": False}, {"norm_first": True}], ids=str)
def test_an_encoder_under_autocast(dtype, model, options, device):
    """PyTorch's kernel runs its parts under autocast; with nested tensors it may not get through with that."""
    torch.manual_seed(0)
    nests, norm_first = options.get("nests", False), options.get("norm_first", False)
    layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nests).eval().to(model)
    for mask in (None, PADDINGS["at the end"], PADDINGS["at the start"]):

        def program(x, mask=mask):
            with torch.no_grad(), torch.autocast("cpu", dtype):
                return encoder(x, src_key_padding_mask=mask)

        expected = outcome(program, X.to(model))
        with device as session:
            given = outcome(program, session.to_device(X.to(model)))
        assert isinstance(given, str) == isinstance(expected, str)
        if isinstance(expected, str):
            assert given == expected
            continue
        assert (given.dtype, given.stride()) == (expected.dtype, expected.stride())
        apart = (torch.tensor(given.tolist()) - expected.float()).abs()
        assert apart.max() < 2**-4  # four roundings of a normed bfloat16
        assert apart.mean() < 2**-8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_under_autocast(dtype, device):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    for padding in (None, PADDINGS["at the end"]):

        def program(x, padding=padding):
            with torch.no_grad(), torch.autocast("cpu", dtype):
                return attention(x, x, x, key_padding_mask=padding)

        expected = program(X)
        with device as session:
            given = program(session.to_device(X))
        for one, other in zip(given, expected, strict=True):
            assert one.dtype is other.dtype
            torch.testing.assert_close(torch.tensor(one.tolist()), other.float(), rtol=2e-2, atol=1e-2)


def test_an_encoder_that_trains_keeps_to_its_own_ways(device):
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), 2)
    agree(lambda x: [encoder(x, src_key_padding_mask=PADDINGS["at the end"])], device, torch.enable_grad)


@pytest.mark.parametrize("needs", ["no weights", "weights", "weights of each head"])
@pytest.mark.parametrize("mask", ["none", "padding", "a whole sequence", "causal", "both"])
def test_multi_head_attention(needs, mask, device):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    padding = {"padding": PADDINGS["at the end"], "a whole sequence": PADDINGS["a whole sequence"]}.get(mask)
    causal = torch.ones(10, 10, dtype=torch.bool).triu(1) if mask in ("causal", "both") else None
    options = {
        "need_weights": needs != "no weights",
        "average_attn_weights": needs == "weights",
        "key_padding_mask": PADDINGS["at the start"] if mask == "both" else padding,
        "attn_mask": causal,
    }
    report = agree(lambda x: attention(x, x, x, **options), device)
    assert not report.totals.host_float, str(report)


def test_wrong_calls_raise_what_they_raise_on_cpu(device):
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    arguments = attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias
    with torch.no_grad(), device as session:
        x = session.to_device(X)
        with pytest.raises(RuntimeError, match="expected `query`/`key`/`value` shapes to match"):
            torch._native_multi_head_attention(x[:, :5], x, x, 16, 2, *arguments)


def test_queries_keys_and_values_are_parted_once_they_are_in_order(watched, device):
    moves = []
    watched(lambda name, *_: moves.append(name))
    layer, x = nn.MultiheadAttention(64, 2, batch_first=True).eval(), X.repeat(1, 4, 4)
    with torch.no_grad(), device as session:
        x = session.to_device(x)
        layer(x, x, x, need_weights=False)[0].sum().item()
    apart, together = "transformer.split_query_key_value_and_split_heads", "transformer.concatenate_heads"
    moves = [name for name in moves if name in ("reshape", "permute", "slice", apart, together)]
    assert moves == [apart, together]
