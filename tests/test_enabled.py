"""`ttreg.enable` and `ttreg.disable`: a block without a `with`."""

from __future__ import annotations

import threading

import pytest
import torch

import ttreg


@pytest.fixture(autouse=True)
def _none_stays_open():
    yield
    ttreg.disable()


def test_the_block_is_open_until_it_is_disabled():
    session = ttreg.enable(device="emulated", min_upload_numel=0)
    result = torch.relu(torch.randn(3, 3))
    assert isinstance(result, ttreg.DeviceTensor)
    assert ttreg.disable() is session
    assert session.closed
    assert type(torch.relu(torch.randn(3, 3))) is torch.Tensor
    assert torch.equal(result, result.clone())
    assert session.report().totals.device == 1


def test_disabling_without_a_block_does_nothing():
    assert ttreg.disable() is None


def test_a_cell_that_runs_again_ends_the_block_of_before():
    first = ttreg.enable(device="emulated")
    second = ttreg.enable(device="emulated", precision="bfloat16")
    assert first.closed
    assert not second.closed
    assert ttreg.disable() is second
    assert ttreg.disable() is None


def test_wrong_keywords_end_nothing():
    session = ttreg.enable(device="emulated")
    with pytest.raises(ttreg.SettingsError):
        ttreg.enable(device="abacus")
    assert not session.closed


def test_blocks_nest_inside():
    outer = ttreg.enable(device="emulated", min_upload_numel=0)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as inner:
        torch.relu(torch.randn(3, 3))
        with pytest.raises(RuntimeError, match="entered after"):
            ttreg.disable()
    torch.relu(torch.randn(3, 3))
    ttreg.disable()
    assert inner.report().totals.device == outer.report().totals.device == 1


def test_it_belongs_to_its_thread():
    session = ttreg.enable(device="emulated")
    found = []
    thread = threading.Thread(target=lambda: found.append((type(torch.relu(torch.ones(2))), ttreg.disable())))
    thread.start()
    thread.join()
    assert found == [(torch.Tensor, None)]
    assert not session.closed
