"""The strides of elementwise and indexed results are CPU's, also of dimensions of one element and expanded ones."""

from __future__ import annotations

import pytest
import torch

aten = torch.ops.aten


def strided(shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    """A tensor with these strides, whatever they are for dimensions of one element."""
    return torch.ones(1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))).as_strided(shape, stride)


ONES = [
    strided((1, 3, 2), (120, 1, 3)),
    strided((1, 3, 2), (0, 2, 1)),
    strided((1, 3, 1), (7, 1, 120)),
    strided((3, 1, 2), (1, 1, 3)),
    strided((1, 1, 3), (3, 3, 1)),
    strided((2, 3, 1), (1, 2, 2)),
    strided((1,), (7,)),
]
OF_ONE = {
    "exp": torch.exp,
    "relu": torch.relu,
    "deg2rad": torch.deg2rad,
    "nan_to_num": torch.nan_to_num,
    "hardtanh": torch.nn.functional.hardtanh,
    "logical_not": torch.logical_not,
    "clamp": lambda x: x.clamp(0, 2),
    "a number added": lambda x: x + 2,
    "less than a number": lambda x: x < 2,
    "a number to the power": lambda x: x**2,
}
OF_TWO = {
    "add": torch.add,
    "rsub": torch.rsub,
    "mul": torch.mul,
    "hypot": torch.hypot,
    "xlogy": torch.xlogy,
    "eq": torch.eq,
    "logical_or": torch.logical_or,
    "maximum": torch.maximum,
    "sigmoid_backward": aten.sigmoid_backward,
    "threshold_backward": lambda x, y: aten.threshold_backward(x, y, 0.5),
    "lerp": lambda x, y: torch.lerp(x, y, 0.5),
}


@pytest.fixture
def on_the_device(device):
    """Gives the strides of a program's result that the device made."""

    def stride(program, *tensors: torch.Tensor) -> tuple[int, ...]:
        with device as session:
            result = program(*tensors).stride()
        assert all(row.placement in ("device", "view") for row in session.report().ops)
        return result

    return stride


@pytest.mark.parametrize("name", OF_ONE)
def test_of_one_tensor(name, on_the_device):
    for x in ONES:
        assert on_the_device(OF_ONE[name], x) == OF_ONE[name](x).stride(), (x.shape, x.stride())


@pytest.mark.parametrize("name", OF_TWO)
def test_of_two_tensors_in_both_orders(name, on_the_device):
    others = [strided((3, 2), (1, 3)), strided((4, 3, 2), (0, 1, 3)), torch.ones(2, 1, 3, 1), torch.ones(2)]
    for x in ONES:
        for y in others:
            for pair in ((x, y), (y, x)):
                try:
                    expected = OF_TWO[name](*pair).stride()
                except RuntimeError:  # not of shapes that broadcast
                    continue
                assert on_the_device(OF_TWO[name], *pair) == expected, [(t.shape, t.stride()) for t in pair]


def test_of_a_gradient_and_an_expanded_output(on_the_device):
    grad, output = strided((1, 3, 2), (6, 0, 1)), strided((2, 3, 3, 2), (1, 6, 2, 18))
    expected = aten.sigmoid_backward(grad, output).stride()
    assert on_the_device(aten.sigmoid_backward, grad, output) == expected


@pytest.mark.parametrize("stride", [(1, 1), (1, 4)])
def test_of_an_index_of_one_column(stride, on_the_device):
    x, index = torch.rand(4, 5, 6), torch.zeros(4, dtype=torch.int64).as_strided((4, 1), stride)
    assert on_the_device(lambda t: t[index], x) == x[index].stride()
