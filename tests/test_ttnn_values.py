"""`to_ttnn` and `from_ttnn`: a tensor's own value, and tensors of values in every layout, dtype and memory."""

from __future__ import annotations

import gc

import pytest
import torch
import ttnn

import ttreg


def block(**settings):
    return ttreg.device_mode(device="emulated", min_upload_numel=0, **settings)


def test_the_value_is_the_tensors_own_and_comes_back_without_a_copy():
    with block() as session:
        x = torch.randn(3, 40) + 0.0
        on_device = torch.relu(x)
        value = ttreg.to_ttnn(on_device)
        assert value is ttreg.to_ttnn(on_device)
        before = session.report().device_calls
        again = ttreg.from_ttnn(value)
        assert ttreg.to_ttnn(again) is value
        assert session.report().device_calls == before
    assert torch.equal(again, torch.relu(x))


def test_an_upload_is_shared_and_a_copy_is_not():
    weight = torch.nn.Parameter(torch.randn(8, 8))
    with block():
        value = ttreg.to_ttnn(weight)
        assert ttreg.to_ttnn(weight) is value
        own = ttreg.to_ttnn(weight, copy=True)
        ttnn.multiply(own, 0.0, output_tensor=own)
        assert torch.equal(torch.relu(weight), torch.relu(weight.detach().clone()))
        assert ttnn.to_torch(own).abs().sum() == 0


def test_later_writes_to_the_tensor_and_its_end_leave_the_value():
    with block():
        x = torch.relu(torch.ones(4, 4))
        view = x[1:]
        value = ttreg.to_ttnn(x)
        x.add_(1)
        view.mul_(3)
        assert torch.equal(ttreg.from_ttnn(value), torch.ones(4, 4))
        again = ttreg.from_ttnn(value)
        again.mul_(5)
        assert torch.equal(ttreg.from_ttnn(value), torch.ones(4, 4))
        del x, view, again
        gc.collect()
        assert torch.equal(ttreg.from_ttnn(ttnn.add(value, value)), torch.full((4, 4), 2.0))


@pytest.mark.parametrize("validate", [False, True], ids=["emulated", "validated"])
def test_values_that_are_held_in_other_forms_are_made_real(validate):
    torch.manual_seed(0)
    conv, image = torch.nn.Conv2d(3, 8, 3), torch.randn(1, 3, 9, 9)
    with torch.no_grad(), block(validate=validate):
        base = torch.randn(6, 10)
        made = {
            "a view": (base + 1)[1:, 2:7].t(),
            "a waiting step": torch.tanh(0.5 * base),
            "an image": torch.relu(conv(image)),
            "a number": torch.full((3, 5), 2.5),
            "a bool": base > 0,
            "a scalar": (base + 1).sum(),
            "of the host": base.double().float(),
        }
        for name, tensor in made.items():
            value = ttreg.to_ttnn(tensor)
            assert tuple(value.shape) == tuple(tensor.shape), name
            assert value.layout == ttnn.TILE_LAYOUT, name
            assert torch.equal(ttreg.from_ttnn(value, dtype=tensor.dtype), tensor), name


def test_a_tensor_that_grew_and_one_that_was_padded_have_their_own_size():
    with block() as session:
        cache = torch.relu(torch.randn(2, 3, 8))
        for _ in range(4):
            cache = torch.cat([cache, torch.relu(torch.randn(2, 1, 8))], 1)
        assert tuple(ttreg.to_ttnn(cache).shape) == (2, 7, 8)
        for rows in (3, 5, 7, 9, 11):
            padded = torch.relu(torch.randn(rows, 8))
            assert tuple(ttreg.to_ttnn(padded).shape) == (rows, 8)
            assert torch.equal(ttreg.from_ttnn(ttreg.to_ttnn(padded)), padded)
    assert session.closed


@pytest.mark.parametrize("validate", [False, True], ids=["emulated", "validated"])
def test_from_ttnn_takes_every_layout_dtype_and_memory(validate):
    x = torch.arange(12.0).view(3, 4) - 5
    with block(validate=validate):
        value = ttreg.to_ttnn(x)
        rows = ttnn.to_layout(value, ttnn.ROW_MAJOR_LAYOUT)
        assert torch.equal(ttreg.from_ttnn(rows), x)
        assert torch.equal(ttreg.from_ttnn(ttnn.to_memory_config(value, ttnn.L1_MEMORY_CONFIG)), x)
        small = ttreg.from_ttnn(ttnn.typecast(value, ttnn.bfloat8_b))
        assert small.dtype is torch.bfloat16
        assert torch.allclose(small.float(), x, atol=0.1)
        assert torch.equal(ttreg.from_ttnn(value, dtype=torch.bool), x != 0)
        assert torch.equal(ttreg.from_ttnn(value, dtype=torch.int64), x.long())
        assert torch.equal(ttreg.from_ttnn(ttnn.typecast(value, ttnn.int32), dtype=torch.bool), x != 0)
        places = ttreg.from_ttnn(ttnn.argmax(value, dim=-1), dtype=torch.int64)
        assert torch.equal(places, x.argmax(-1))
        host = ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)  # has never been on a device
        assert torch.equal(ttreg.from_ttnn(host, dtype=torch.float32), x)
        filled = ttnn.full([2, 3], 4.0, dtype=ttnn.float32, layout=ttnn.TILE_LAYOUT, device=value.device())
        assert torch.equal(ttreg.from_ttnn(filled), torch.full((2, 3), 4.0))


def test_block_floats_that_were_asked_for_arrive():
    layer = torch.nn.Linear(64, 64)
    ttreg.carry_in(layer, "bfloat8_b")
    with block():
        assert ttreg.to_ttnn(layer.weight).dtype == ttnn.bfloat8_b
        assert ttreg.to_ttnn(layer.bias).dtype == ttnn.float32


def test_precision_carries_float32_in_bfloat16():
    with block(precision="bfloat16"):
        x = torch.relu(torch.randn(4, 4))
        assert ttreg.to_ttnn(x).dtype == ttnn.bfloat16
        assert ttreg.from_ttnn(ttreg.to_ttnn(x), dtype=torch.float32).dtype is torch.float32


def test_operators_and_slices_are_those_of_ttnn():
    x, y = torch.randn(4, 6), torch.rand(4, 6) + 1
    with block():
        a, b = ttreg.to_ttnn(x), ttreg.to_ttnn(y)
        pairs = [(a + b, x + y), (a - b, x - y), (a * 2, x * 2), (1 - a, 1 - x), (a / b, x / y), (1 / b, 1 / y)]
        pairs += [(a @ ttnn.transpose(b, 0, 1), x @ y.t()), (a[1:3, ::2], x[1:3, ::2]), (a > b, (x > y).float())]
        for got, expected in pairs:
            assert torch.allclose(ttnn.to_torch(got).float(), expected, atol=1e-5)
        assert a.device().compute_with_storage_grid_size().x == 8


def test_what_cannot_be_asked_for_is_refused_with_a_reason():
    x = torch.ones(2, 2)
    for call in (ttreg.to_ttnn, ttreg.from_ttnn):
        with pytest.raises(ttreg.DeviceError, match="works in a block"):
            call(x)
    with block():
        value = ttreg.to_ttnn(x)
        with pytest.raises(ValueError, match="float64 has no ttnn dtype"):
            ttreg.to_ttnn(x.double())
        with pytest.raises(ValueError, match="without elements"):
            ttreg.to_ttnn(torch.empty(0, 3))
        with pytest.raises(ValueError, match="too large"):
            ttreg.to_ttnn(torch.tensor([2**40]))
        with pytest.raises(ValueError, match="no ttnn dtype"):
            ttreg.from_ttnn(value, dtype=torch.float64)
        with pytest.raises(TypeError, match="expected a tensor of ttnn, got Tensor"):
            ttreg.from_ttnn(x)
    with pytest.raises(RuntimeError, match="outside of the block"):
        ttnn.add(value, value)


def test_a_recording_that_uses_values_directly_runs_as_the_function_does():
    def step(x):
        value = ttreg.to_ttnn(torch.relu(x))
        return ttreg.from_ttnn(ttnn.add(value, value))

    with block() as session:
        recorded = session.record(step)
        for _ in range(4):
            x = torch.randn(4, 4)
            assert torch.equal(recorded(x), 2 * torch.relu(x))


def test_real_ttnn_gets_real_tensors():
    with ttreg.device_mode(device="mock", min_upload_numel=0):
        value = ttreg.to_ttnn(torch.relu(torch.randn(3, 5)))
        assert isinstance(value, ttnn.Tensor)
        shard = ttnn.to_memory_config(ttnn.add(value, value), ttnn.L1_MEMORY_CONFIG)
        tensor = ttreg.from_ttnn(shard)
        assert ttreg.to_ttnn(tensor).memory_config() == ttnn.DRAM_MEMORY_CONFIG
        assert tensor.shape == (3, 5)
        with pytest.raises(TypeError):
            ttnn.add(value, "nonsense")
