"""Threads that use one tensor at once: another thread's part of it comes between two steps of a call in the block."""

from __future__ import annotations

import sys
import threading

import pytest
import torch

import ttreg
from tests.test_threads import in_a_thread
from ttreg.meta import meta_of
from ttreg.runtime import dispatch

X = torch.arange(12.0).reshape(3, 4) / 4


@pytest.fixture
def meanwhile(monkeypatch):
    """Has another thread run a function when the device has computed, the `nth` time, and no one has the results yet.

    Values of views are computed as well.
    """

    def arrange(session, function, nth=1, name="lower"):
        compute, calls = getattr(session, name), []

        def compute_and_wait(*args):
            values = compute(*args)
            calls.append(args)
            if len(calls) == nth:
                monkeypatch.undo()
                in_a_thread(function)
                done.append(True)
            return values

        done.append(False)
        monkeypatch.setattr(session, name, compute_and_wait)

    done = []
    yield arrange
    assert done == [False, True]


@pytest.fixture
def switching():
    """Threads take turns as often as Python lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


READS = {
    "a sum": lambda a: a + 1,
    "numpy": lambda a: a.numpy(),
    "tolist": lambda a: a.tolist(),
    "a view": lambda a: a[1].clone(),
    "repr": repr,
    "data_ptr": lambda a: a.data_ptr(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_another_thread_reads_is_written_in_place_meanwhile(read, device, meanwhile):
    with device as session:
        a = session.to_device(X)
        view = a.t()
        meanwhile(session, lambda: read(a))
        a.add_(1)
        a.mul_(2)
        assert view.tolist() == ((X + 1) * 2).t().tolist()
    assert a.tolist() == ((X + 1) * 2).tolist()


def test_what_another_thread_writes_meanwhile_is_not_lost(device, meanwhile):
    with device as session:
        a = session.to_device(X)
        meanwhile(session, lambda: a.add_(10))
        a.add_(1)
        assert a.tolist() == (X + 11).tolist()
        rows = {row.op: row for row in session.report().ops if row.op == "aten.add_.Tensor"}
    assert rows["aten.add_.Tensor"].placement == "host"
    assert "others may see that memory" in rows["aten.add_.Tensor"].reason


def test_what_another_thread_writes_through_numpy_meanwhile_is_not_lost(device, meanwhile):
    def write():
        a.numpy()[2] = 7

    with device as session:
        a = session.to_device(X)
        meanwhile(session, write)
        a[0:1].add_(1)
        expected = X.clone()
        expected[0] += 1
        expected[2] = 7
        assert a.tolist() == expected.tolist()


@pytest.mark.parametrize("other_row", [0, 2])
def test_rows_that_two_threads_write_at_once(other_row, device, meanwhile):
    with device as session:
        a = session.to_device(X)
        meanwhile(session, lambda: a[other_row : other_row + 1].add_(10))
        a[0:1].add_(1)
        total = a + 0
    expected = X.clone()
    expected[other_row] += 10
    expected[0] += 1
    assert a.tolist() == total.tolist() == expected.tolist()


def test_rows_that_overlap_are_written_by_two_blocks_of_one_session(device, meanwhile):
    def write():
        with device:
            a[0:2].mul_(2)

    with device as session:
        a = session.to_device(X)
        meanwhile(session, write, nth=2)
        a[1:3].add_(1)
        total = a + 0
    # The second row is written by both: either order will do.
    assert a.tolist() == total.tolist()
    assert a[0].tolist() == (X[0] * 2).tolist()
    assert a[2].tolist() == (X[2] + 1).tolist()
    assert a[1].tolist() in ((X[1] * 2 + 1).tolist(), (X[1] + 1).tolist(), ((X[1] + 1) * 2).tolist())


def test_one_of_several_outputs_is_taken_by_another_thread(device, meanwhile):
    with device as session:
        values, places = session.to_device(torch.zeros(3)), session.to_device(torch.zeros(3, dtype=torch.int64))
        x = session.to_device(X)
        meanwhile(session, lambda: places.numpy())
        result = torch.max(x, 1, out=(values, places))
        assert result[0] is values
    assert values.tolist() == X.max(1).values.tolist()
    assert places.tolist() == X.max(1).indices.tolist()


def test_a_tensor_of_another_session_that_ends_meanwhile(device, meanwhile):
    other = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with device as session:
        entered = other.__enter__()
        a = entered.to_device(X)
        other.__exit__(None, None, None)
        b = session.to_device(X)
        assert (a + b).tolist() == (X * 2).tolist()
        inner = ttreg.device_mode(device="emulated", min_upload_numel=0)
        kept, ready, done = [], threading.Event(), threading.Event()

        def program():
            with inner as own:
                kept.append(own.to_device(X))
                ready.set()
                done.wait(60)

        thread = threading.Thread(target=program)
        thread.start()
        ready.wait(60)
        meanwhile(session, lambda: (done.set(), thread.join(60)))
        kept[0].add_(b)  # its session ends when the sum has been computed
        assert kept[0].tolist() == (X * 2).tolist()
        assert (kept[0].t() + 1).tolist() == (X * 2 + 1).t().tolist()


def test_a_decision_made_while_another_thread_takes_a_tensor_is_not_kept_for_others(device, monkeypatch):
    decide = dispatch.decide

    def decide_late(*args):
        monkeypatch.undo()
        in_a_thread(lambda: a + 1)
        return decide(*args)

    with device as session:
        a = session.to_device(X)
        monkeypatch.setattr(dispatch, "decide", decide_late)
        a.add_(1)
        b = session.to_device(X)
        b.add_(1)
        rows = {row.placement: row.count for row in session.report().ops if row.op == "aten.add_.Tensor"}
    assert a.tolist() == b.tolist() == (X + 1).tolist()
    assert rows == {"host": 1, "device": 1}


def test_a_value_derived_of_what_another_thread_overwrites_is_not_kept(device, meanwhile):
    def write():
        with device:
            torch.ops.aten.copy_(a, torch.ones(3, 4, dtype=torch.float64))  # on the host

    with device as session:
        a = session.to_device(X)
        view = a.view(torch.int32)
        meanwhile(session, write, name="_upload")
        view + 0  # uploads the view, since ttnn has no such one
        assert (view + 0).tolist() == torch.ones(3, 4).view(torch.int32).tolist()
        assert (a + 0).tolist() == torch.ones(3, 4).tolist()


def test_a_view_is_read_while_another_thread_brings_all_to_the_host(device):
    """What was written as a part is the host's from then on, and no longer noted as a part."""
    brought = []

    class Slow(threading.Thread):
        def run(self):
            brought.append(a.tolist())

    with device as session:
        a = session.to_device(X)
        a[1:2].add_(10)
        cell = a._cell
        other = Slow()

        class Watched(type(cell)):
            @property
            def before(self):
                value = self.__dict__.get("before")
                if not brought and other.ident is None and threading.current_thread() is not other:
                    other.start()
                    other.join(1)  # it waits for this thread, or is done
                return value

            @before.setter
            def before(self, value):
                self.__dict__["before"] = value

        cell.__class__ = Watched
        rows = (a.t() + 0).tolist()
        other.join()
        expected = X.clone()
        expected[1] += 10
        assert brought == [expected.tolist()]
        assert rows == expected.t().tolist()
        assert (a[0:2] + 0).tolist() == expected[0:2].tolist()


def test_a_lazy_output_is_computed_once_for_two_threads(device):
    computed, started, results = [], threading.Event(), []

    def make():
        computed.append(threading.get_ident())
        started.set()
        other.join(0.2)  # it waits for the value, or makes one too
        return value

    def read_in_a_block():
        started.wait(60)
        with device:
            results.append((a + 0).tolist())

    with device as session:
        value = session._upload(X, "float32", False)
        a = session.new_tensor(meta_of(X), make)
        other = threading.Thread(target=read_in_a_block)
        other.start()
        results.append((a + 0).tolist())
        other.join()
    assert results == [X.tolist()] * 2
    assert len(computed) == 1


def test_the_host_writes_in_one_block_what_the_device_replaces_in_another(device):
    """A write on the host ends after a write of the whole on the device: the tensor and its views stay one memory."""
    library = torch.library.Library("ttreg_racing", "FRAGMENT")
    library.define("slow_(Tensor(a!) self) -> Tensor(a!)")

    def replace():
        with device:
            a.mul_(2)

    def slow(tensor):
        in_a_thread(replace)
        return tensor.add_(1)

    library.impl("slow_", slow, "CPU")
    with device as session:
        a = session.to_device(X)
        view = a.t()
        torch.ops.ttreg_racing.slow_(a)
        a.add_(1)
        assert view.tolist() == a.t().tolist()
        view.add_(1)
        assert view.tolist() == a.t().tolist()
    assert a.tolist() == (X * 2 + 2).tolist()


def test_a_view_made_on_the_host_while_the_device_replaces_its_base(device):
    library = torch.library.Library("ttreg_racing", "FRAGMENT")
    library.define("slow_view(Tensor(a) self) -> Tensor(a)")

    def slow(tensor):
        in_a_thread(replace)
        return tensor.view(-1)

    def replace():
        with device:
            a.mul_(2)

    library.impl("slow_view", slow, "CPU")
    with device as session:
        a = session.to_device(X)
        view = torch.ops.ttreg_racing.slow_view(a)
        a.add_(1)
        assert view.tolist() == (X * 2 + 1).flatten().tolist()
        view.add_(1)
    assert a.tolist() == (X * 2 + 2).tolist()


@pytest.mark.parametrize("read", ["a sum", "numpy", "tolist", "a view"])
def test_another_thread_reads_without_end_while_the_block_writes(read, device, switching):
    stop, failures = threading.Event(), []

    def reader():
        while not stop.is_set():
            try:
                READS[read](box[0])
            except Exception as failure:
                failures.append(failure)

    with device as session, torch.no_grad():
        box = [session.to_device(torch.zeros(4, 4))]
        thread = threading.Thread(target=reader)
        thread.start()
        try:
            for _ in range(150):
                box[0] = a = session.to_device(torch.zeros(4, 4))
                a.add_(1)
                a[0:2].add_(1)
                a.t().add_(1)
                wanted = torch.full((4, 4), 2.0)
                wanted[0:2] = 3
                assert a.tolist() == wanted.tolist()
        finally:
            stop.set()
            thread.join()
    assert not failures


def test_reports_are_made_while_another_thread_computes(device, switching, monkeypatch):
    """Each call is counted once, also those whose decisions give way meanwhile."""
    monkeypatch.setattr("ttreg.runtime.ledger._KEPT_PLANS", 64)
    totals, failures = [], []
    done = threading.Event()

    def work():
        with device, torch.no_grad():
            for i in range(1, 200):
                torch.ones(i, 3).add_(1)
                torch.arange(i).to(torch.float64).cumsum(0)

    def report(session):
        while not done.is_set():
            try:
                totals.append(session.report().totals.calls)
            except Exception as failure:
                failures.append(failure)

    with device as session:
        reporter = threading.Thread(target=report, args=(session,))
        reporter.start()
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        done.set()
        reporter.join()
    assert not failures
    assert totals == sorted(totals)
    once = ttreg.device_mode(device="emulated", min_upload_numel=0)
    device, twice = once, session.report().totals.calls
    work()
    with once as alone:
        pass
    assert twice == 2 * alone.report().totals.calls
