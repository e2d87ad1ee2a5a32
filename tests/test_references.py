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


@pytest.mark.parametrize(("reduce", "expected"), [("add", [2.0, 14.0]), ("multiply", [2.0, 70.0])])
def test_scatter_reduces(reduce, expected):
    start, index, source = torch.tensor([[2.0, 2.0]]), torch.tensor([[1, 1]]), torch.tensor([[5.0, 7.0]])
    assert REFERENCES["scatter"](start, 1, index, source, reduce=reduce).tolist() == [expected]
    assert REFERENCES["scatter"](start, 1, index[:, 1:], source[:, 1:]).tolist() == [[2.0, 7.0]]
    assert ttnn.scatter.golden_function(start, 1, index, source, reduce=reduce).tolist() == [[2.0, 7.0]]
