"""What PyTorch's own operator tests found wrong once, each as a plain case."""

from __future__ import annotations

import pytest
import torch

MATRIX = torch.arange(25.0).reshape(5, 5).sin()


@pytest.mark.parametrize(
    "function",
    [
        torch.linalg.pinv,
        torch.pinverse,
        lambda a: torch.linalg.lstsq(a, a[:, :2])[0],
        lambda a: torch.linalg.inv(a).mH @ a,
        lambda a: (a.conj() + a.mH).imag.neg(),
    ],
)
def test_kernels_conjugate_views_of_complex_matrices(function, device):
    matrix = torch.complex(MATRIX, MATRIX.T)
    with device:
        given = function(matrix)
    torch.testing.assert_close(given, function(matrix))


RANK = torch.linalg.matrix_rank


@pytest.mark.parametrize("arguments", [{}, {"tol": 0.1}, {"tol": torch.tensor(0.1)}, {"atol": 0.1, "rtol": 0.2}])
def test_out_of_a_matrix_rank(arguments, device):
    """As the function is found before the block."""
    out = torch.full((), 7)
    with device as session:
        assert RANK(session.to_device(MATRIX), **arguments, out=out) is out
    assert out == torch.linalg.matrix_rank(MATRIX, **arguments)


@pytest.mark.parametrize("function", [torch.tensor_split, torch.Tensor.tensor_split])
@pytest.mark.parametrize("places", [torch.tensor([1, 3]), torch.tensor(3)])
def test_tensor_of_places_to_split_at(function, places, device):
    with device as session:
        given = function(session.to_device(MATRIX), session.to_device(places), dim=1)
        expected = MATRIX.tensor_split(places.tolist(), 1)
        assert [piece.tolist() for piece in given] == [piece.tolist() for piece in expected]
        recorded = MATRIX.clone().requires_grad_()
        function(recorded, places)[0].sum().backward()
    assert recorded.grad.sum() == 5 * len(function(MATRIX, places)[0])


@pytest.mark.parametrize("places", [torch.tensor([1.0]), torch.tensor([[1]])])
def test_tensor_that_is_no_places_to_split_at(places, same_as_cpu):
    same_as_cpu(lambda tensor: torch.tensor_split(tensor(MATRIX), tensor(places)), raises=True)


def test_out_of_a_softmax(same_as_cpu):
    same_as_cpu(lambda tensor: torch.softmax(tensor(MATRIX), 1, out=tensor(torch.zeros(5, 5))).shape)
    same_as_cpu(lambda tensor: torch.log_softmax(tensor(MATRIX), 1, out=torch.zeros(5, 5).double()), raises=True)


def test_unsafe_chunks_are_views(same_as_cpu):
    def program(tensor):
        whole = tensor(MATRIX.clone())
        torch.ops.aten.unsafe_chunk(whole, 2)[1].zero_()
        return whole

    same_as_cpu(program)


def test_batch_norm_that_updates_its_statistics(device):
    def program():
        mean, variance = torch.zeros(5), torch.ones(5)
        result = torch.ops.aten._native_batch_norm_legit(MATRIX, None, None, mean, variance, True, 0.1, 1e-5)
        return *result, mean, variance

    expected = program()
    with device:
        given = program()
    torch.testing.assert_close(given, expected)


def test_product_into_a_view_of_out(device):
    batch, vector = torch.arange(250.0).reshape(5, 5, 10).sin(), torch.arange(10.0)
    with device as session:
        out = session.to_device(torch.zeros(5, 5))
        torch.matmul(session.to_device(batch), session.to_device(vector), out=out)
    torch.testing.assert_close(out.host(), batch @ vector)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64])
def test_only_what_the_device_carries_goes_there(dtype, device):
    with device as session, pytest.raises(ValueError, match="has no ttnn dtype"):
        session.to_device(torch.ones(3, dtype=dtype))


def test_integers_are_not_narrowed_on_their_way_to_the_device(device):
    with device as session, pytest.raises(ValueError, match="too large"):
        session.to_device(torch.tensor([2**40]))


def test_replaced_functions_are_scripted_as_the_built_in_ones(device):
    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.linear = torch.nn.LSTM(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return torch.tensor_split(self.linear(self.lstm(x)[0]), 2)[0]

    layers, x = Layers(), torch.rand(3, 2, 4)
    with device:
        scripted = torch.jit.script(layers)
    torch.testing.assert_close(scripted(x), layers(x))


def test_what_a_block_replaces_is_there_again_after_it(device):
    def found():
        owners = (torch.Tensor.data_ptr, torch.Tensor.apply_, torch._VF.lstm, torch.nn.TransformerEncoder.forward)
        return [*owners, torch._ops.HigherOrderOperator.__call__]

    before = found()
    with device, device:
        inside = found()
    assert found() == before
    assert not set(inside) & set(before)


@pytest.mark.parametrize("enabled", [False, True])
def test_onednn_is_left_as_the_user_had_it(enabled, device):
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(enabled)
    try:
        with device, torch.no_grad():
            torch.nn.LSTM(4, 4)(torch.ones(2, 1, 4))
            assert torch._C._get_mkldnn_enabled() == enabled
        assert torch._C._get_mkldnn_enabled() == enabled
    finally:
        torch._C._set_mkldnn_enabled(before)
