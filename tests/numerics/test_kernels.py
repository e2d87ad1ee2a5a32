"""The emulated device with the chip's numerics: what the matrix unit and the packer make of values, and who may ask."""

from __future__ import annotations

import pytest
import torch

import ttreg
from ttreg import SettingsError, devices
from ttreg.devices import open_device
from ttreg.settings import Settings


def on_chip(function, *args, **keywords):
    """What the function gives on the device, and its session's report."""
    keywords = {"device": "emulated", "numerics": "chip", "min_upload_numel": 0, "on_fallback": "raise"} | keywords
    with ttreg.device_mode(**keywords), torch.no_grad():
        return function(*args)


def relative(made, exact):
    return float((made.double() - exact).norm() / exact.norm())


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("device", ["mock", "ttnn"])
def test_a_chip_cannot_be_told_what_to_compute(device):
    with pytest.raises(SettingsError, match=r"numerics is 'chip'; expected 'golden' but for device='emulated'"):
        ttreg.device_mode(device=device, numerics="chip")


def test_nor_can_a_chip_that_was_not_asked_for(monkeypatch):
    monkeypatch.setattr(devices, "chip_present", lambda: True)
    with pytest.raises(SettingsError, match="numerics is 'chip'"), ttreg.device_mode(numerics="chip"):
        pass


def test_a_device_says_whether_its_numerics_are_the_chips():
    assert open_device(Settings(device="emulated", numerics="chip")).chip_numerics
    assert not open_device(Settings(device="emulated")).chip_numerics


def test_both_numerics_may_be_open_at_once():
    a, b = normal(40, 64), normal(64, 40, seed=1)
    golden = on_chip(torch.mm, a, b, numerics="golden")
    with ttreg.device_mode(device="emulated", numerics="chip", min_upload_numel=0):
        chip = a @ b
        assert torch.equal(golden, on_chip(torch.mm, a, b, numerics="golden"))
        assert torch.equal(chip, a @ b)
    assert not torch.allclose(golden, chip)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (torch.mm, [(64, 96), (96, 64)]),
        (torch.mm, [(3, 200), (200, 2)]),
        (torch.bmm, [(2, 40, 64), (2, 64, 33)]),
        (torch.matmul, [(2, 3, 40, 64), (2, 3, 64, 33)]),
        (torch.matmul, [(2, 40, 64), (64, 33)]),
        (torch.nn.functional.linear, [(40, 96), (64, 96)]),
        (torch.nn.functional.conv2d, [(2, 16, 12, 12), (32, 16, 3, 3)]),
        (torch.nn.functional.conv2d, [(2, 24, 12, 12), (33, 8, 3, 3), None, 1, 1, 1, 3]),
    ],
)
def test_a_product_of_float32_keeps_three_digits_and_is_too_small(function, shapes):
    args = [normal(*shape, seed=i) if isinstance(shape, tuple) else shape for i, shape in enumerate(shapes)]
    exact = function(*(arg.double() if isinstance(arg, torch.Tensor) else arg for arg in args))
    made = on_chip(function, *args)
    assert 9e-4 < relative(made, exact) < 2.2e-3
    bias = float(((made.double() - exact) * exact).sum() / exact.square().sum())
    assert -1.6e-3 < bias < -8e-4


def test_a_product_is_rounded_in_groups_of_eight_on_the_grid_of_the_largest():
    a = torch.tensor([[1.0] + [2.0**-12] * 15])
    b = torch.ones(16, 1)
    # In the first group 2^-12 is a quarter of the grid's step, and vanishes; the second one has a grid of its own.
    assert float(on_chip(torch.mm, a, b)) == 1 + 8 * 2.0**-12


def test_a_large_product_errs_as_its_parts_do(monkeypatch):
    from ttreg.devices.emulated.numerics import products

    a, b = (normal(*shape, seed=i, dtype=torch.bfloat16).float() for i, shape in enumerate([(64, 512), (512, 64)]))
    exact = a.double() @ b.double()
    whole = relative(on_chip(torch.mm, a, b), exact)
    monkeypatch.setattr(products, "MOST_ROUNDED", 64 * 512 * 64 // 8)
    sampled = relative(on_chip(torch.mm, a, b), exact)
    assert 0.6 < sampled / whole < 1.6


def test_an_infinite_factor_is_a_large_number_to_the_matrix_unit():
    made = on_chip(torch.mm, torch.tensor([[torch.inf, 1.0]]), torch.tensor([[2.0**-10], [1.0]]))
    assert 2.0**117 < float(made) < 2.0**119


def test_a_fused_bias_is_added_on_ten_bits():
    x, weight, bias = torch.full((1, 32), 2.0), torch.full((1, 32), 2.0), torch.tensor([1 / 3])
    made = on_chip(torch.nn.functional.linear, x, weight, bias)
    assert float(made) == 128.375


def test_a_convolution_without_bias_truncates_the_sum_of_all_rows_of_the_kernel_but_the_last():
    images, weight = torch.ones(1, 8, 2, 3), torch.ones(1, 8, 2, 1)
    weight[0, :, 0, 0] = torch.tensor([257.0] * 7 + [258.0])  # together 2057, of which ten bits keep 2056
    weight[0, 0, 1, 0] = 2.0  # together with the others 9
    assert on_chip(torch.nn.functional.conv2d, images, weight).unique().tolist() == [2056.0 + 9.0]
    assert on_chip(torch.nn.functional.conv2d, images, weight, torch.zeros(1)).unique().tolist() == [2057.0 + 9.0]


def test_bfloat16_that_the_chip_packs_has_no_nan_no_negative_zero_and_no_denormals():
    values = torch.tensor([torch.nan, -torch.nan, -0.0, 1e-39, 1.0], dtype=torch.bfloat16)
    made = on_chip(torch.abs, values)
    assert made.tolist() == [torch.inf, torch.inf, 0.0, 0.0, 1.0]
    moved = on_chip(lambda x: x.view(5, 1).clone(), values)
    assert moved.isnan().sum() == 2


def test_softmax_of_a_number_is_one():
    assert float(on_chip(lambda x: torch.softmax(x, 0), torch.tensor(0.5))) == 1.0


def test_softmax_sums_rows_columns_and_other_dimensions_each_in_another_way():
    x = normal(3, 33, 40)
    rows, columns, others = (on_chip(torch.softmax, x.movedim(-1, dim), dim).movedim(dim, -1) for dim in (2, 1, 0))
    exact = torch.softmax(x.double(), -1)
    # The sum of columns takes nine bits of an exponential instead of ten; it is smaller, and the quotients are larger.
    assert columns.double().sum() > rows.double().sum()
    assert all(1e-4 < relative(made, exact) < 3e-3 for made in (rows, columns, others))
    assert not torch.equal(rows, others)
    assert not torch.equal(columns, others)


def test_softmax_and_norms_stand_on_the_matrix_unit():
    x = normal(64, 96)
    assert 1e-4 < relative(on_chip(lambda x: torch.softmax(x, -1), x), torch.softmax(x.double(), -1)) < 3e-3
