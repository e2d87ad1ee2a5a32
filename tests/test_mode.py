"""`device_mode`: blocks nested, entered again, left by exceptions, and left by generators."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import ttreg
from ttreg import DeviceTensor

X = torch.arange(6.0).reshape(2, 3)


def modes() -> int:
    """How many modes are active in this thread."""
    return len(_get_current_dispatch_mode_stack()) + len(_get_current_function_mode_stack())


def rows(session, op="aten.add.Tensor"):
    return sum(row.count for row in session.report().ops if row.op == op)


def test_a_block_gives_its_session_and_leaves_no_mode_behind(device):
    before = modes()
    with device as session:
        assert isinstance(session, ttreg.Session)
        assert modes() > before
        result = X + X
    assert modes() == before
    assert result.tolist() == (X * 2).tolist()
    assert rows(session) == 1


def test_calls_before_and_after_the_block_are_not_its_own(device):
    X + X
    with device as session:
        X + X
    X + X
    assert rows(session) == 1


def test_results_are_torch_tensors_on_cpu(device):
    with device as session:
        result = session.to_device(X)
    assert isinstance(result, DeviceTensor)
    assert isinstance(result, torch.Tensor)
    assert result.device == torch.device("cpu")


def test_a_tensor_is_kept_on_the_host_after_the_block(device):
    with device as session:
        result = session.to_device(X)
        sum_ = result + 1
    downloads = session.report().transfers.downloads
    assert (sum_.tolist(), result.tolist()) == ((X + 1).tolist(), X.tolist())
    assert session.report().transfers.downloads == downloads


def test_a_tensor_that_died_in_the_block_is_not_downloaded(device):
    with device as session:
        result = session.to_device(X)
        del result
        gc.collect()
    assert session.report().transfers.downloads == 0


def test_the_innermost_block_handles_the_calls(device):
    with device as outer:
        X + 1
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as inner:
            X + 1
            X + 1
        X + 1
    assert inner is not outer
    assert (rows(outer), rows(inner)) == (2, 2)


def test_a_tensor_of_the_outer_block_is_used_in_the_inner_and_the_other_way_round(device):
    with device as outer:
        a = outer.to_device(X)
        view = a.t()
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as inner:
            b = a + inner.to_device(X)
            c = view + 1
            a.add_(1)
        a.add_(b)
        b.mul_(2)
        d = view + b.t()
    assert b.tolist() == (X * 4).tolist()
    assert c.tolist() == (X.t() + 1).tolist()
    assert a.tolist() == (X * 3 + 1).tolist()
    assert d.tolist() == (X * 7 + 1).t().tolist()


def test_an_inner_block_with_another_precision_rounds_and_the_outer_does_not(device):
    third = torch.full((2, 3), 1 / 3)
    with device as outer:
        exact = outer.to_device(third)
        with ttreg.device_mode(device="emulated", min_upload_numel=0, precision="bfloat16") as inner:
            rounded = inner.to_device(third)
            again = exact + 0
        sums = exact + rounded
    assert exact.tolist() == third.tolist()
    assert rounded.tolist() == third.bfloat16().float().tolist()
    assert again.dtype == rounded.dtype == torch.float32
    assert sums.tolist() == (third + third.bfloat16().float()).tolist()


def test_one_object_entered_twice_in_succession_goes_on_with_its_session(device):
    with device as first:
        a = first.to_device(X)
        view = a.t()
    with device as second:
        assert second is first
        a.add_(1)
        b = a + view.t()
    assert rows(second) == 1
    assert a.tolist() == view.t().tolist() == (X + 1).tolist()
    assert b.tolist() == (2 * X + 2).tolist()


def test_one_object_entered_inside_itself_closes_when_its_outermost_block_ends(device):
    before = modes()
    with device as outer:
        a = outer.to_device(X)
        with device as inner:
            assert inner is outer
            b = a + 1
        downloads = outer.report().transfers.downloads
        assert downloads == 0, "the session went on"
        c = b + a
    assert modes() == before
    assert c.tolist() == (2 * X + 1).tolist()


def test_two_objects_interleaved_are_both_left(device):
    before = modes()
    other = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with device as one, other as two, device as three:
        X + 1
    assert one is three
    assert (rows(one), rows(two)) == (1, 0)
    assert modes() == before


class Interruption(BaseException):
    """Stands for KeyboardInterrupt."""


@pytest.mark.parametrize("kind", [ValueError, Interruption, KeyboardInterrupt, StopIteration, SystemExit])
def test_an_exception_leaves_the_block_clean(device, kind):
    before = modes()
    kept = []

    def program():
        with device as session:
            kept.append(session)
            kept.append(session.to_device(X))
            kept.append(kept[1].t())
            raise kind

    with pytest.raises(kind):
        program()
    session, a, view = kept
    assert modes() == before
    assert a.tolist() == view.t().tolist() == X.tolist()
    with device as again:
        assert again is session
        assert (a + 1).tolist() == (X + 1).tolist()
    assert modes() == before


def test_an_exception_inside_a_nested_block_leaves_the_outer_one_working(device):
    with device as outer:
        a = outer.to_device(X)
        inner = ttreg.device_mode(device="emulated", min_upload_numel=0)
        with pytest.raises(RuntimeError), inner:
            a + torch.ones(7)
        before = rows(outer)
        b = a + 1
        assert rows(outer) == before + 1
    assert b.tolist() == (X + 1).tolist()


def test_a_block_is_entered_by_an_exit_stack(device):
    with contextlib.ExitStack() as stack:
        stack.enter_context(device)
        stack.enter_context(pytest.raises(ZeroDivisionError))
        _ = 1 / 0
    assert modes() == 0


def test_an_exit_without_an_entry_is_refused(device):
    with pytest.raises((RuntimeError, IndexError)):
        device.__exit__(None, None, None)


def test_a_device_that_cannot_be_opened_leaves_no_mode_behind(monkeypatch):
    monkeypatch.setattr("ttreg.blocks.mode.open_device", lambda settings: 1 / 0)
    block = ttreg.device_mode(device="emulated")
    with pytest.raises(ZeroDivisionError), block:
        pass
    assert modes() == 0
    monkeypatch.undo()
    with block:
        assert (X + 1).tolist() == (X + 1).tolist()
    assert modes() == 0


def test_a_generator_that_runs_inside_the_block_is_handled_by_it(device):
    def doubled():
        for row in X:
            yield row + row

    with device as session:
        collected = list(doubled())
    assert [row.tolist() for row in collected] == (X * 2).tolist()
    assert rows(session) == 2


def test_a_generator_that_holds_a_block_gives_good_tensors_and_ends_clean():
    def batches():
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            for row in X:
                yield session.to_device(row) + 1

    before = modes()
    collected = list(batches())
    assert modes() == before
    assert [row.tolist() for row in collected] == (X + 1).tolist()
    abandoned = batches()
    first = next(abandoned)
    abandoned.close()
    assert modes() == before
    assert first.tolist() == (X[0] + 1).tolist()


def test_a_block_works_as_it_is_inside_a_coroutine(device):
    async def program():
        with device as session:
            await asyncio.sleep(0)
            return session.to_device(X) + 1

    assert asyncio.run(program()).tolist() == (X + 1).tolist()


def test_other_modes_inside_and_outside_the_block_see_their_calls(device):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten.add.Tensor
            return func(*args, **(kwargs or {}))

    with device as session, Counting() as inside:
        result = X + 1
    assert (inside.count, rows(session), result.tolist()) == (1, 1, (X + 1).tolist())
    with Counting() as outside, ttreg.device_mode(device="emulated") as session:
        result = X + 1
    assert (outside.count, rows(session), result.tolist()) == (1, 1, (X + 1).tolist())


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_mode_may_leave_calls_to_the_kinds_of_their_tensors(where, device):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Leaving(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return NotImplemented if types else func(*args, **(kwargs or {}))

    blocks = {"inside": (device, Leaving()), "outside": (Leaving(), device)}[where]
    with blocks[0] as first, blocks[1] as second:
        session = first if where == "inside" else second
        x = session.to_device(X)
        result = (x + 1) @ x.t()
        assert session.report().totals.device == 2
        assert session.report().transfers.downloads == 0
    assert result.tolist() == ((X + 1) @ X.t()).tolist()


@pytest.mark.parametrize("nested", [False, True])
def test_modes_outside_the_block_see_the_programs_calls_and_not_the_devices(device, nested):
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    class Noting(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.ops = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.ops.append(func)
            return func(*args, **(kwargs or {}))

    image, weight, matrix = torch.rand(1, 2, 6, 6), torch.rand(3, 2, 3, 3), torch.rand(48, 5)

    def program():
        features = torch.nn.functional.conv2d(image, weight).relu().flatten(1)
        with torch.no_grad():
            return (features @ matrix).softmax(1), torch.linalg.qr(matrix).R, features.double()

    with FlopCounterMode(display=False) as flops, Noting() as notes:
        expected = program()
    with FlopCounterMode(display=False) as counted, Noting() as noted, device as session:
        if nested:
            with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
                results = program()
        else:
            results = program()
    assert counted.get_total_flops() == flops.get_total_flops() > 0
    assert noted.ops == notes.ops
    assert session.report().totals.device > 2
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(torch.tensor(result.tolist()), wanted.float())


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda g: g.__name__)
def test_grad_modes_may_surround_the_block_or_be_surrounded_by_it(device, guard):
    with guard(), device as session:
        a = session.to_device(X) + 1
    with device, guard():
        b = a + 1
    assert b.tolist() == (X + 2).tolist()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_report_can_be_asked_for_inside_the_block_and_changes_nothing(device):
    with device as session:
        a = session.to_device(X)
        one = session.report()
        assert session.report() == one
        a + 1
        assert session.report().totals.calls == one.totals.calls + 1


def test_tensors_that_die_are_freed_at_once(device):
    with device as session, torch.no_grad():
        gc.disable()
        try:
            for _ in range(3):
                a = session.to_device(X)
                b = (a.t() + 1).reshape(-1)[2:] * 2
                b.add_(1).tolist()
                with pytest.raises(RuntimeError):
                    a + torch.ones(7)
                del a, b
            assert not session.live()
        finally:
            gc.enable()
