"""Uploads of host tensors: kept while their memory lives, made again when it changed, whoever changed it."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from torch import nn

X = torch.arange(12.0).reshape(3, 4) / 4


def transfers(session):
    moved = session.report().transfers
    return moved.uploads, moved.weight_uploads, moved.downloads


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
        self.register_buffer("shift", torch.ones(2))

    def forward(self, x):
        return self.second(self.first(x).relu()) + self.shift


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda g: g.__name__)
def test_a_second_pass_uploads_its_input_only(guard, device):
    model, downloads, other = Model(), [], X + 1
    expected = model(X), model(other)
    with device as session, guard():
        first = model(X)
        after_first = session.report().transfers
        second = model(other)
        after_second = session.report().transfers
        downloads.append(after_second.downloads)
        second.tolist()
        downloads.append(session.report().transfers.downloads)
    torch.testing.assert_close((first.detach(), second.detach()), tuple(e.detach() for e in expected))
    assert after_first.weight_uploads == 4
    assert after_second.weight_uploads == after_first.weight_uploads
    assert after_second.weight_upload_bytes == after_first.weight_upload_bytes
    assert after_second.uploads - after_first.uploads == 1
    assert downloads == [0, 1]


def test_a_device_that_asks_for_addresses_as_ttnn_does_gives_no_memory_away(device, monkeypatch):
    weight, x = nn.Parameter(torch.ones(64, 64)), torch.ones(64, 64)
    with device as session, torch.no_grad():
        upload = session.device.upload

        def asking(plain, *arguments):
            assert plain.data_ptr()
            return upload(plain, *arguments)

        monkeypatch.setattr(session.device, "upload", asking)
        for _ in range(3):
            x @ weight
        assert session.report().transfers.weight_uploads == 1
        weight.data_ptr()  # the program's own
        weight.data.mul_(2)
        assert (x @ weight)[0, 0].item() == 128


def test_a_weight_is_uploaded_once_for_all_its_views(scale, device):
    weight = nn.Parameter(X.clone())
    with device as session, torch.no_grad():
        x = session.to_device(X.t().contiguous())
        before = transfers(session)
        for _ in range(3):
            scale(x, weight.t())
            x @ weight
    uploads, weights, _ = (a - b for a, b in zip(transfers(session), before, strict=True))
    assert uploads == 0
    assert weights <= 2


def test_the_same_tensor_is_uploaded_once(scale, device):
    a, b = X.clone(), X + 1
    with device as session:
        for _ in range(3):
            scale(a, b)
    assert transfers(session)[:2] == (2, 0)


def test_small_tensors_that_a_program_makes_anew_with_the_same_content_share_an_upload(scale, device):
    with device as session:
        x = session.to_device(X)
        before = transfers(session)
        results = [scale(x, torch.full((3, 4), factor)).tolist() for factor in (2.0, 2.0, 3.0, 2.0)]
        last = torch.full((3, 4), 3.0)
        scale(x, last)
        last[0, 0] = -0.0
        results.append(scale(x, last).tolist())
    expected = [(X * factor).tolist() for factor in (2.0, 2.0, 3.0, 2.0)]
    assert results == [*expected, (X * last).tolist()]
    assert transfers(session)[0] - before[0] == 3
    assert last.resize_(20).shape == (20,), "the program's own memory is not held"


def test_a_parameter_shared_by_two_modules_is_uploaded_once(scale, device):
    shared = nn.Parameter(X.clone())
    tied = shared
    with device as session, torch.no_grad():
        scale(session.to_device(X), shared)
        scale(session.to_device(X), tied)
    assert transfers(session)[1] == 1


def test_one_frame_is_refilled_by_numpy(scale, device):
    memory = np.zeros((3, 4), dtype=np.float32)
    frame, two = torch.from_numpy(memory), torch.full((3, 4), 2.0)
    sums = []
    with device:
        for number in range(5):
            memory[:] = number
            sums.append(scale(frame, two).sum().item())
    assert sums == [number * 24.0 for number in range(5)]


@pytest.mark.parametrize("make", [torch.from_numpy, torch.as_tensor, torch.frombuffer], ids=lambda f: f.__name__)
@pytest.mark.parametrize("wrap", [lambda t: t, nn.Parameter, lambda t: t[1:], torch.Tensor.t], ids=range(4))
def test_memory_of_numpy_is_never_trusted(make, wrap, scale, device):
    memory = np.ones((3, 4), dtype=np.float32)
    plain = make(memory) if make is not torch.frombuffer else make(memory, dtype=torch.float32).view(3, 4)
    tensor = wrap(plain)
    with device, torch.no_grad():
        first = scale(tensor, torch.ones(tensor.shape)).tolist()
        memory[2, 3] = 5
        second = scale(tensor, torch.ones(tensor.shape)).tolist()
    assert first != second
    assert second == tensor.tolist()


def test_inference_tensors_are_uploaded_again_when_changed(scale, device):
    with torch.inference_mode():
        weight = nn.Parameter(X.clone(), requires_grad=False)
        plain = X.clone()
    with device, torch.inference_mode():
        first = [scale(weight, plain).tolist()]
        weight.add_(1)
        plain.mul_(2)
        second = scale(weight, plain).tolist()
    assert first == [(X * X).tolist()]
    assert second == ((X + 1) * (X * 2)).tolist()


def test_bits_are_compared_and_not_values(scale, device):
    plain, one = torch.tensor([0.0, math.nan]), torch.ones(2)
    with device as session:
        scale(plain, one)
        before = transfers(session)[0]
        scale(plain, one)
        assert transfers(session)[0] == before, "NaN is equal to itself here"
        plain.numpy()[0] = -0.0
        result = scale(plain, one)
    assert math.copysign(1, result[0].item()) == -1


def test_a_freed_tensor_drops_its_upload(scale, device):
    kept, freed = X.clone(), X.clone()
    weight = nn.Parameter(X.clone())
    with device as session, torch.no_grad():
        scale(kept, freed)
        scale(kept, weight)
        assert len(session.uploads._storages) == 3
        del freed, weight
        gc.collect()
        assert len(session.uploads._storages) == 1
        for number in range(20):
            fresh = torch.full((3, 4), float(number))
            assert scale(kept, fresh).tolist() == (kept * number).tolist()
            del fresh
        assert len(session.uploads._storages) <= 2


def test_a_block_ends_with_no_uploads(scale, device):
    weight = nn.Parameter(X.clone())
    with device as session, torch.no_grad():
        scale(X, weight)
    assert not session.uploads._storages


def test_a_device_tensor_is_not_uploaded(scale, device):
    with device as session:
        a = session.to_device(X)
        before = transfers(session)
        scale(scale(a, a), a)
        assert transfers(session) == before


def test_expanded_and_overlapping_views_of_weights_are_right(scale, device):
    weight = nn.Parameter(torch.arange(4.0))
    with device, torch.no_grad():
        first = scale(weight.expand(3, 4), torch.ones(3, 4))
        second = scale(weight.unfold(0, 2, 1), torch.ones(3, 2))
        weight.add_(1)
        third = scale(weight.expand(3, 4), torch.ones(3, 4))
    plain = torch.arange(4.0)
    assert first.tolist() == plain.expand(3, 4).tolist()
    assert second.tolist() == plain.unfold(0, 2, 1).tolist()
    assert third.tolist() == (plain + 1).expand(3, 4).tolist()
