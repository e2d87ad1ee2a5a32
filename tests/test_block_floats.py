"""Weights that the user asks to be carried in block floats: on the emulated device, and as real ttnn reports them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import ttreg
from ttreg.checking.compare import pcc
from ttreg.runtime.block_floats import block_float_of


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 40)).to(dtype).eval()


def x(dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(33, 64).to(dtype)


@pytest.mark.parametrize("whole", [torch.no_grad, torch.inference_mode], ids=["addmm", "linear"])
@pytest.mark.parametrize(("dtype", "least"), [("bfloat8_b", 0.9995), ("bfloat4_b", 0.97)])
def test_products_are_as_close_as_the_block_float_allows(dtype, least, whole, device):
    net = model()
    with whole():
        expected = net(x())
        ttreg.carry_in(net, dtype)
        with device as session:
            result = net(x())
        assert least < pcc(result, expected) < 1
        assert not torch.allclose(result, expected, rtol=1e-4, atol=1e-5), "nothing was rounded"
    totals = session.report().totals
    assert (totals.host_float, totals.device) == (0, 3)


def test_the_parameters_themselves_do_not_change(device):
    net, same = model(), model()
    ttreg.carry_in(net, "bfloat4_b")
    with device, torch.no_grad():
        net(x())
    for parameter, before in zip(net.parameters(), same.parameters(), strict=True):
        assert torch.equal(parameter, before)


def test_a_list_of_parameters_and_modules_is_carried_so():
    net, layer = model(), nn.Linear(8, 8)
    ttreg.carry_in([net[0].weight, layer], "bfloat8_b")
    asked = [block_float_of(parameter) for parameter in (net[0].weight, net[2].weight, layer.weight, layer.bias)]
    assert asked == ["bfloat8_b", None, "bfloat8_b", None]
    ttreg.carry_in((parameter for parameter in (net[0].weight, layer.weight)), None)
    assert block_float_of(net[0].weight) is block_float_of(layer.weight) is None
    for wrong in ([net[0].weight, torch.ones(8, 8)], "weights", 3):
        with pytest.raises(TypeError, match="a parameter or a list of them, got"):
            ttreg.carry_in(wrong, "bfloat8_b")


def test_it_can_be_ended_and_asked_for_one_weight_alone(device):
    net = model()
    with device, torch.no_grad():
        expected = net(x()).clone()
        ttreg.carry_in(net[0].weight, "bfloat8_b")
        rounded = net(x()).clone()
        ttreg.carry_in(net, None)
        assert torch.equal(net(x()), expected)
        assert not torch.equal(rounded, expected)


def test_gradients_still_flow(device):
    net, plain = model(), model()
    plain(x()).square().sum().backward()
    ttreg.carry_in(net, "bfloat8_b")
    with device:
        net(x()).square().sum().backward()
    for parameter, other in zip(net.parameters(), plain.parameters(), strict=True):
        assert pcc(parameter.grad, other.grad) > 0.999


PROGRAM = """
import sys, torch, ttreg, ttnn
from torch import nn
from ttreg.devices.emulated.tensor import stored
net = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 40))
with ttreg.device_mode(device="emulated", validate=True, arch=sys.argv[1], min_upload_numel=0) as session:
    for kind in ("bfloat8_b", "bfloat4_b"):
        ttreg.carry_in(net, kind)
        for dtype in (torch.float32, torch.bfloat16):
            net.to(dtype)(torch.randn(33, 64).to(dtype))
        net.float()
        with torch.inference_mode():
            net(torch.randn(2, 33, 64))
assert session.report().totals.host_float == 0, session.report()

# Less than the last bit of the largest value of their blocks lies between these and the middle of two packed values.
middles = torch.tensor([3.0] + [0.39062511920928955, -0.25000011920928955, 1.2500001192092896] * 5).repeat(32, 2)
several = torch.randn(64, 96), torch.randn(33, 40) * torch.logspace(-9, 9, 40), torch.zeros(2, 3, 5, 50), middles
for kind in (ttnn.bfloat8_b, ttnn.bfloat4_b):
    for values in several:
        packed = ttnn.to_torch(ttnn.from_torch(values, dtype=kind, layout=ttnn.TILE_LAYOUT)).float()
        assert torch.equal(packed, stored(values, kind)), (kind, values)
"""


@pytest.mark.parametrize("arch", ["wormhole_b0", "blackhole"])
def test_real_ttnn_takes_them_and_packs_them_to_the_same_values(arch):
    done = subprocess.run([sys.executable, "-c", PROGRAM, arch], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_dtype_or_another_thing_is_refused():
    with pytest.raises(
        ValueError, match="'int4'; expected one of 'float32', 'bfloat16', 'bfloat8_b', 'bfloat4_b', or None"
    ):
        ttreg.carry_in(model(), "int4")
    with pytest.raises(TypeError, match="expected a module, a parameter or a list of them, got Tensor"):
        ttreg.carry_in(torch.zeros(3), "bfloat8_b")
