"""Our own references against torch, and why they are there: what ttnn's golden functions give instead."""

from __future__ import annotations

import pytest
import torch
import ttnn

from ttreg.devices.emulated.references import REFERENCES


def whole(*shape):
    """Small whole numbers, whose products add up exactly in any dtype that holds the sum."""
    return (torch.arange(torch.Size(shape).numel()) % 7 - 3).reshape(shape)


def test_linear_adds_a_bias_of_two():
    a, b, bias = whole(5, 8).float(), whole(2, 8).float(), torch.tensor([0.5, -2.0])
    expected = torch.nn.functional.linear(a, b, bias)
    assert torch.equal(REFERENCES["linear"](a, b, bias=bias, transpose_b=True), expected)
    assert torch.equal(REFERENCES["linear"](a, b.mT, bias=bias), expected)
    with pytest.raises(RuntimeError, match="bias must be a 1D tensor"):
        ttnn.linear.golden_function(a, b, bias=bias, transpose_b=True)


def test_matmul_is_rounded_once():
    a, b = torch.full((1, 3), 16.0, dtype=torch.bfloat16), torch.tensor([[16.0], [1 / 16], [0.0]]).bfloat16()
    assert REFERENCES["matmul"](a, b, dtype=ttnn.float32).tolist() == [[257.0]]
    assert ttnn.matmul.golden_function(a, b, dtype=ttnn.float32).tolist() == [[256.0]]


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_transposes(transpose_a, transpose_b):
    a, b = whole(2, 3, 5).float(), whole(2, 5, 4).float()
    product = REFERENCES["matmul"](
        a.mT if transpose_a else a, b.mT if transpose_b else b, transpose_a=transpose_a, transpose_b=transpose_b
    )
    assert torch.equal(product, a @ b)


def test_matmul_ignores_no_argument():
    with pytest.raises(TypeError, match="activation"):
        REFERENCES["matmul"](whole(2, 2), whole(2, 2), activation="relu")
    tripled = ttnn.UnaryWithParam(ttnn.UnaryOpType.MUL_UNARY_SFPU, 3.0)
    product = REFERENCES["matmul"](whole(2, 3), whole(3, 2), activation=tripled)
    assert torch.equal(product, whole(2, 3) @ whole(3, 2) * 3)


@pytest.mark.parametrize(("reduce", "expected"), [("add", [2.0, 14.0]), ("multiply", [2.0, 70.0])])
def test_scatter_reduces(reduce, expected):
    start, index, source = torch.tensor([[2.0, 2.0]]), torch.tensor([[1, 1]]), torch.tensor([[5.0, 7.0]])
    assert REFERENCES["scatter"](start, 1, index, source, reduce=reduce).tolist() == [expected]
    assert REFERENCES["scatter"](start, 1, index[:, 1:], source[:, 1:]).tolist() == [[2.0, 7.0]]
    assert ttnn.scatter.golden_function(start, 1, index, source, reduce=reduce).tolist() == [[2.0, 7.0]]


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool2d_takes_rows_of_channels(ceil_mode):
    images = whole(2, 3, 7, 6).float()
    rows = images.permute(0, 2, 3, 1).reshape(1, 1, -1, 3)
    found = REFERENCES["max_pool2d"](rows, 2, 7, 6, 3, [3, 2], [2, 2], [1, 0], [1, 1], ceil_mode=ceil_mode)
    expected = torch.nn.functional.max_pool2d(images, (3, 2), 2, (1, 0), 1, ceil_mode)
    assert torch.equal(found, expected.permute(0, 2, 3, 1).reshape(1, 1, -1, 3))
    with pytest.raises(ModuleNotFoundError, match="tests"):
        ttnn.max_pool2d.golden_function(rows, 2, 7, 6, 3, [3, 2], [2, 2], [1, 0], [1, 1])


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("key_heads", "transposed"), [(None, True), (2, False), (0, False)])
def test_heads_are_taken_apart_and_together(apart, key_heads, transposed):
    heads = whole(2, 4 + 2 * (4 if key_heads is None else key_heads), 5, 8).float()
    rows = REFERENCES["experimental.nlp_concat_heads"](heads)
    inputs = [rows[..., :32], rows[..., 32:]] if apart else [rows]
    query, key, value = REFERENCES["experimental.nlp_create_qkv_heads"](
        *inputs, num_heads=4, num_kv_heads=key_heads, transpose_k_heads=transposed
    )
    together = torch.cat([query, key.mT if transposed else key, value], dim=1)
    assert torch.equal(together, heads)
    assert query.shape == (2, 4, 5, 8)
    assert rows.shape == (2, 1, 5, heads.shape[1] * 8)
    for name in ("nlp_concat_heads", "nlp_create_qkv_heads", "rotary_embedding_hf"):
        assert getattr(ttnn.experimental, name).golden_function is None


def test_rotary_embedding_turns_pairs_of_halves():
    angles = torch.rand(1, 1, 5, 4)
    heads = torch.rand(1, 3, 5, 8)
    turned = torch.view_as_real(torch.polar(torch.ones(()), angles) * torch.complex(*heads.chunk(2, -1)))
    cos, sin = (torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin))
    found = REFERENCES["experimental.rotary_embedding_hf"](heads, cos, sin)
    torch.testing.assert_close(found, torch.cat([turned[..., 0], turned[..., 1]], -1))
