"""Products of rows whose tensors differ from what is there in leading dimensions of 1 alone: it takes no ttnn call."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ttreg

WEIGHT, BIAS = torch.rand(64, 96), torch.rand(96)
PRODUCTS = {
    "mm": lambda x: torch.mm(x, WEIGHT),
    "addmm": lambda x: torch.addmm(BIAS, x, WEIGHT),
    "addmm, scaled": lambda x: torch.addmm(BIAS, x, WEIGHT, beta=0.5, alpha=2.0),
    "addmm of one column": lambda x: torch.addmm(torch.ones(x.shape[0], 1), x, WEIGHT),
    "linear": lambda x: nn.functional.linear(x, WEIGHT.T.contiguous(), BIAS),
    "matrix": lambda x: x @ WEIGHT,
}


def through(product, length):
    """A product of the rows of a batch of one, under the batch's dimensions again."""
    return lambda x: product(x.view(-1, 64)).view(1, length, 96)


@pytest.mark.parametrize("float32", ["fast", "exact"])
@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("length", [1, 5])
def test_products_of_rows_in_a_batch_of_one(name, length, grad, float32, watched):
    program, x = through(PRODUCTS[name], length), torch.rand(1, length, 64)
    names = []
    watched(lambda name, *_: names.append(name))
    settings = {"device": "emulated", "validate": True, "min_upload_numel": 0, "float32": float32}
    with grad(), ttreg.device_mode(**settings) as session:
        found = (program(session.to_device(x) + 1) * 2).relu()
    torch.testing.assert_close(found.detach().clone(), (program(x + 1) * 2).relu().detach(), rtol=1e-4, atol=1e-4)
    if float32 == "fast":
        assert "reshape" not in names


def test_each_further_dimension_is_dropped_and_made_without_a_call(watched):
    names = []
    watched(lambda name, *_: names.append(name))
    x, wide = torch.rand(1, 1, 3, 64), torch.rand(96, 64)
    with torch.no_grad(), ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        rows = session.to_device(x) + 1
        first = torch.mm(rows.view(3, 64), WEIGHT)
        second = torch.mm(first, wide)  # no view in between: it is held with the same dimensions
        found = second.view(1, 1, 3, 64) + rows
    torch.testing.assert_close(found.clone(), (x + 1) @ WEIGHT @ wide + x + 1)
    assert "reshape" not in names


def test_the_result_has_its_own_metadata_and_one_storage_with_its_views():
    x = torch.rand(1, 5, 64)
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        for rows in (session.to_device(x), x):
            made = torch.addmm(BIAS, (rows + 1).view(-1, 64), WEIGHT)
            assert (made.shape, made.stride(), made.storage_offset()) == ((5, 96), (96, 1), 0)
            view, column = made.view(1, 5, 96), made[:, 3]
            before = made.clone()
            view.mul_(2)
            column.fill_(7.0)
            made[1:2] += 1
            wanted = before * 2
            wanted[:, 3] = 7.0
            wanted[1] += 1
            assert torch.equal(made, wanted)
            assert torch.equal(view[0], wanted)
            made.resize_(2, 96)
            assert torch.equal(made, wanted[:2])


def test_values_are_those_at_the_call():
    x = torch.rand(1, 5, 64)
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        given = session.to_device(x)
        rows = given.view(-1, 64)
        torch.mm(rows, WEIGHT)
        given[0, 2] = 3.0
        found = torch.mm(rows, WEIGHT)
    x[0, 2] = 3.0
    torch.testing.assert_close(found.clone(), x[0] @ WEIGHT)


def test_batches_on_the_other_side_are_multiplied_as_ever():
    x, others = torch.rand(1, 2, 5, 64), torch.rand(2, 64, 3)
    with torch.inference_mode(), ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        given = (session.to_device(x) + 1).view(2, 5, 64)
        found = torch.matmul(given, others), given[1] @ torch.ones(64), given[1, 2] @ torch.ones(64, 3)
    wanted = (x[0] + 1) @ others, (x[0, 1] + 1) @ torch.ones(64), (x[0, 1, 2] + 1) @ torch.ones(64, 3)
    for got, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.clone(), other)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(-1, 64),  # a batch of two: its rows do lie elsewhere in tiles
        lambda x: x[1],
        lambda x: x[:1, 1:].reshape(-1, 64),
        lambda x: x[1:].view(-1, 64),
        lambda x: x[:1].view(5, 64)[::2],
        lambda x: x[:1].squeeze(0),
        lambda x: x[:, :1].squeeze(1),
    ],
)
def test_other_views_give_what_they_show(view):
    x = torch.rand(2, 5, 64)
    with torch.no_grad(), ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        found = torch.mm(view(session.to_device(x) + 1), WEIGHT)
    torch.testing.assert_close(found.clone(), torch.mm(view(x + 1), WEIGHT))


def test_gradients_and_checked_calls():
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 96), torch.rand(1, 5, 64)

    def gradients(x):
        x = x.clone().requires_grad_()
        layer.zero_grad()
        product = torch.addmm(layer.bias, (x + 1).view(-1, 64), layer.weight.T)
        product.view(1, 5, 96).square().sum().backward()
        return [x.grad, layer.weight.grad.clone(), layer.bias.grad.clone()]

    wanted = gradients(x)
    for options in ({"check": 0.9999}, {}):
        with ttreg.device_mode(device="emulated", min_upload_numel=0, **options) as session:
            found = [gradient.clone() for gradient in gradients(session.to_device(x))]
        for got, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(got.clone(), other, rtol=1e-4, atol=1e-3)
