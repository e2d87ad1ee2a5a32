"""A device that fails: the program gets the right result, or an error that says what was lost, and can go on."""

from __future__ import annotations

import gc
import random

import pytest
import torch
from torch import nn

import ttreg

from . import sweep
from .device import FAULTS, Fault, Opened
from .programs import MODELS

SEED = 0


@pytest.fixture
def opened(monkeypatch):
    return Opened(monkeypatch)


@pytest.fixture
def fails(opened):
    """Opens a block on a device that fails at a call with such a name, and after so many calls of that name."""

    def block(name: str, fault: str | Fault, nth: int = 0, **settings):
        opened.fails(FAULTS[fault] if isinstance(fault, str) else fault, -1)
        mode = ttreg.device_mode(**sweep.SETTINGS, **settings)
        with mode:
            pass
        device = opened.devices[0]
        device.at, count = 1 << 60, device.call

        def call(called: str) -> None:
            if called == name and device.at == 1 << 60 and device.kinds.count(name) == nth:
                device.at = device.seen
            count(called)

        device.call = call
        return mode

    return block


def on_device(session, *shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return session.to_device(torch.rand(shape))


@pytest.mark.parametrize("name", MODELS)
def test_a_fault_at_some_call_ends_right_or_in_an_error(name, opened):
    chosen = random.Random(f"{SEED} {name}")
    expected = sweep.on_cpu(name)
    for wanted in ("raise", "fallback"):
        calls = sweep.calls_of(opened, name, wanted)
        gc.collect()
        gc.freeze()
        for kind, fault in FAULTS.items():
            at = chosen.randrange(len(calls))
            end = sweep.tried(opened, name, fault, at, wanted, expected)
            assert end.how in ("right", "error"), (wanted, kind, at, calls[at], end)
            assert sweep.then_works(opened, name, expected), (wanted, kind, at, calls[at])
    gc.unfreeze()


def test_a_call_without_memory_is_made_again_after_uploads_are_freed(fails):
    weight = nn.Parameter(torch.rand(64, 64))
    with fails("relu", "out of memory") as session, torch.no_grad():
        product = on_device(session, 64, 64) @ weight
        result = product.relu()
        again = product @ weight
        assert session.report().transfers.weight_uploads == 2
    torch.testing.assert_close(again, result @ weight)


def test_what_holds_the_memory_is_told_by_op_and_line(fails):
    with fails("relu", "out of memory from then on") as session:
        kept = [on_device(session, 512, 512) + n for n in range(3)]
        with pytest.raises(ttreg.DeviceError) as caught:
            kept[0].relu()
    line = test_what_holds_the_memory_is_told_by_op_and_line.__code__.co_firstlineno + 2
    assert "Out of Memory" in str(caught.value)
    assert f"3.0 MiB in 3 of aten.add.Tensor ({__file__}:{line})" in str(caught.value)
    assert caught.value.lost == ()
    assert kept[2].shape == (512, 512)


def test_views_that_the_device_keeps_are_freed_too(fails):
    with fails("relu", "out of memory") as session:
        a = on_device(session, 96, 64)
        turned = a.t() + 1
        values = len(a._cell.values)
        result = turned.relu()
        assert values == 2
        assert len(a._cell.values) == 1
    torch.testing.assert_close(result, a.t() + 1)


def test_tensors_that_are_made_once_for_a_session_are_freed_too(fails):
    with fails("relu", "out of memory") as session:
        a, made = on_device(session, 4, 4), session.tt.once(_zeros)
        assert session.tt.once(_zeros) is made
        result = a.relu()
        assert session.tt.once(_zeros) is not made
    torch.testing.assert_close(result, a.clamp(0))


def _zeros(tt):
    return tt.zeros([32, 32], dtype=tt.float32, layout=tt.TILE_LAYOUT, device=tt.device)


@pytest.mark.parametrize("shape", [(4, 4), (512, 64, 1, 1)], ids=["as it is", "as a matrix"])
def test_the_host_takes_a_call_for_which_there_is_no_memory(fails, shape):
    with fails("exp", "out of memory from then on", on_device_error="fallback") as session:
        a = on_device(session, *shape)
        result = a.exp()
        rows = [row for row in session.report().ops if row.op == "aten.exp.default"]
    assert [(row.placement, row.count) for row in rows] == [("host", 1)]
    assert "Out of Memory" in rows[0].got
    torch.testing.assert_close(result, a.exp())


@pytest.mark.parametrize("fault", ["hangs", "vanishes"])
def test_a_lost_device_is_told_with_the_tensors_that_were_lost(fault, fails):
    with fails("exp", fault) as session:
        read, only = on_device(session, 4, 4), on_device(session, 2, 3) + 1
        first = read.tolist()
        zeros = torch.zeros_like(read)
        with pytest.raises(ttreg.DeviceError) as caught:
            only.exp()
    line = test_a_lost_device_is_told_with_the_tensors_that_were_lost.__code__.co_firstlineno + 3
    assert caught.value.lost == (f"float32[2, 3] of aten.add.Tensor ({__file__}:{line})",)
    assert "the tensors whose only copy it had: float32[2, 3]" in str(caught.value)
    assert read.tolist() == first  # the host had it too
    assert zeros.tolist() == [[0.0] * 4] * 4  # and knows what it was made of
    with pytest.raises(ttreg.DeviceError, match=r"the only copy of float32\[2, 3\] of aten\.add\.Tensor") as later:
        only.tolist()
    assert later.value.lost == caught.value.lost
    with ttreg.device_mode(**sweep.SETTINGS) as session:
        assert on_device(session, 4, 4).add(1).tolist() == (torch.tensor(first) + 1).tolist()


def test_a_lost_device_is_asked_no_more(fails, opened):
    with fails("exp", "hangs", on_device_error="fallback") as session:
        a = on_device(session, 4, 4)
        a.tolist()  # from here on the host has it too
        first = a.exp()
        seen = opened.devices[0].seen
        second = (a.relu() + 1).exp()
        assert opened.devices[0].seen == seen  # each call would take as long as the timeout
        with ttreg.device_mode(**sweep.SETTINGS) as inner:
            third = on_device(inner, 4, 4).exp()
    torch.testing.assert_close(first, a.exp())
    torch.testing.assert_close(second, (a.relu() + 1).exp())
    torch.testing.assert_close(third, a.exp())


def test_a_loss_that_nobody_was_told_of_is_told_at_the_end_of_the_block(fails):
    mode = fails("exp", "hangs", on_device_error="fallback")
    with mode as session:
        only, a = on_device(session, 2, 3) * 2, on_device(session, 4, 4)
        a.tolist()
        a.exp()
        with pytest.raises(ttreg.DeviceError, match=r"float32\[2, 3\]") as caught:
            session.close()
    assert len(caught.value.lost) == 1
    assert only.shape == (2, 3)


def test_a_refused_read_loses_nothing(fails):
    with fails("to_torch", "refused") as session:
        a = on_device(session, 4, 4)
        with pytest.raises(ttreg.DeviceError, match="reading a tensor of the device") as caught:
            a.tolist()
        assert caught.value.lost == ()
        assert a.tolist() == a.tolist()


def test_a_view_that_ttnn_refuses_is_told_or_made_by_the_host(fails):
    def program(session):
        a = on_device(session, 2, 8, 64).relu()
        return a.transpose(0, 1)[1:3].exp()

    with ttreg.device_mode(**sweep.SETTINGS) as session:
        expected = program(session)
    for name in ("permute", "transpose", "slice"):
        with fails(name, Fault("no such program", lasts=True, reads_too=False), on_device_error="fallback") as session:
            made = program(session)
        torch.testing.assert_close(made, expected)
        with fails(name, Fault("no such program", lasts=True, reads_too=False)) as session:
            try:
                made = program(session)
            except ttreg.DeviceError:
                continue
        torch.testing.assert_close(made, expected)
