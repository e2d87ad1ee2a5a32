"""Forked processes: their calls are the host's, the device is their parent's, and the parent does not notice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import ttreg
from ttreg.explain.why import Oracle
from ttreg.meta import meta_of

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
X = torch.arange(12.0).reshape(3, 4) / 4


def emulated(**keywords):
    return ttreg.device_mode(device="emulated", min_upload_numel=0, **keywords)


def forked(program):
    """What the program gives, or the exception that it raises, in a forked process."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)  # as DataLoader's workers do: OpenMP's threads are not there
            writer.send(program())
        except BaseException as error:
            writer.send((type(error).__name__, str(error), traceback.format_exc()))
        finally:
            os._exit(0)
    try:
        assert reader.poll(60)
        return reader.recv()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_calls_of_a_forked_process_run_on_the_host_and_are_not_counted(device):
    with device as session:
        a = session.to_device(X)
        before = session.report()

        def program():
            result = torch.nn.functional.gelu(X @ X.t()) + 1
            X.add_(1)
            return type(result), result.tolist(), session.report() == before, len(str(session.report())) > 0

        result = forked(program)
        b = a * 2
        assert session.report().totals.calls == before.totals.calls + 1
    assert result == (torch.Tensor, (torch.nn.functional.gelu(X @ X.t()) + 1).tolist(), True, True)
    assert b.tolist() == (X * 2).tolist()


def test_a_session_that_only_decides_keeps_no_other_from_being_told(device):
    oracles = [Oracle() for _ in range(20)]
    with device as session:
        a = session.to_device(X)
        assert forked(lambda: (a + 1).tolist())[0] == "DeviceError"
    assert oracles


READS = {
    "tolist": lambda a: a.tolist(),
    "a sum": lambda a: a + 1,
    "an argument": lambda a: torch.ones(3, 4) * a,
    "a write": lambda a: a.add_(1),
    "numpy": lambda a: a.numpy(),
    "a view": lambda a: a[1] + 1,
    "repr": repr,
    "item": lambda a: a[0, 0].item(),
    "data_ptr": lambda a: a.data_ptr(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_only_the_device_holds_raises_in_a_forked_process(read, device):
    with device as session:
        a = session.to_device(X) + 0
        kind, text, _ = forked(lambda: read(a))
        assert a.tolist() == X.tolist()
    assert kind == "DeviceError"
    assert "this process was forked from one that has the device open" in text


def test_an_output_that_was_not_made_yet_raises_in_a_forked_process(device):
    with device as session:
        value = session._upload(X, "float32", False)
        a = session.new_tensor(meta_of(X), lambda: value)
        assert forked(a.tolist)[0] == "DeviceError"
        assert a.tolist() == X.tolist()


def test_what_the_host_holds_too_is_used_in_a_forked_process(device):
    with device as session:
        a = session.to_device(X) * 2
        view = a[1]
        a.tolist()

        def program():
            view.add_(1)
            return (a @ X.t()).tolist(), view.numpy().tolist()

        result = forked(program)
        assert a.tolist() == (X * 2).tolist()
        a.add_(1)
    expected = X * 2
    expected[1] += 1
    assert result == ((expected @ X.t()).tolist(), expected[1].tolist())
    assert a.tolist() == (X * 2 + 1).tolist()


@pytest.mark.parametrize("same", [False, True])
def test_a_forked_process_has_a_block_of_its_own(same, device):
    with device as session:
        a = session.to_device(X)

        def program():
            with device if same else emulated() as own:
                result = own.to_device(X) + 1
                made = result._cell.storage is None
                calls = own.report().totals.calls
            return own is session, made, calls, result.tolist(), (X + 1).tolist(), type(X + 1)

        result = forked(program)
        assert (a + 1).tolist() == (X + 1).tolist()
    assert result == (False, True, 1, (X + 1).tolist(), (X + 1).tolist(), torch.Tensor)


def test_a_forked_process_leaves_the_block_it_was_forked_in(device):
    """As a program does that goes on after `os.fork()`, to its end and what is to be done there."""
    program = """if True:
        import os, sys, torch, ttreg
        with ttreg.device_mode(device="emulated", min_upload_numel=0, trace=sys.argv[1]) as session:
            a = session.to_device(torch.ones(3))
            child = os.fork()
            b = torch.ones(3) * 2
            if child:
                assert os.waitpid(child, 0)[1] == 0
                a = a + 1
        print("parent" if child else "child", b.tolist(), session.report().totals.calls, flush=True)
        if child:
            assert a.tolist() == [2, 2, 2]
    """
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=300)
        with open(path) as file:
            events = json.load(file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["child [2.0, 2.0, 2.0] 1", "parent [2.0, 2.0, 2.0] 4"]
    assert sum(event["name"].startswith("aten.") for event in events) == 4


def test_locks_that_another_thread_holds_are_free_in_a_forked_process(device):
    held, done = threading.Event(), threading.Event()
    twice = (X * 2).tolist()

    def hold():
        with session.device.lock, session.ledger._lock, session._cells._lock, device._lock:
            held.set()
            done.wait(60)

    with device as session:
        a = session.to_device(X)
        a.tolist()
        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(60)

        def program():
            with device as own:
                return (own.to_device(X) + a).tolist(), session.report().totals.calls

        try:
            assert forked(program) == (twice, 0)
        finally:
            done.set()
            thread.join()


def test_a_chip_that_the_parent_has_open_is_refused_in_a_forked_process():
    program = """if True:
        import os, torch, ttreg
        with ttreg.device_mode(device="mock") as session:
            a = session.to_device(torch.ones(64, 64))
            child = os.fork()
            if not child:
                for keywords in ({"device": "mock"}, {"device": "emulated", "validate": True}):
                    try:
                        with ttreg.device_mode(**keywords):
                            pass
                    except ttreg.DeviceUnavailableError as error:
                        print(str(error).partition(":")[0], flush=True)
                with ttreg.device_mode(device="emulated", min_upload_numel=0) as own:
                    print((own.to_device(torch.ones(2)) + 1).tolist(), flush=True)
                os._exit(0)  # as multiprocessing ends a process: ttnn's own teardown would wait forever
            assert os.waitpid(child, 0)[1] == 0
            (a + 1).tolist()
        print("ended", flush=True)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = "this process was forked from one that has a chip open through ttnn, which is of use to that one alone"
    assert done.stdout.splitlines() == [said, said, "[2.0, 2.0]", "ended"]


class Rows(Dataset):
    def __init__(self, table):
        self.table = table

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.table[index] * 2


def test_a_worker_of_a_data_loader_says_what_only_the_device_holds(device):
    with device as session:
        table = session.to_device(X) + 0
        with pytest.raises(ttreg.DeviceError, match="forked from one that has the device open"):
            list(DataLoader(Rows(table), num_workers=1))
        table.tolist()
        rows = torch.cat(list(DataLoader(Rows(table), num_workers=1)))
    assert rows.tolist() == (X * 2).tolist()
