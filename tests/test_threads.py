"""Threads: a block belongs to the thread that entered it, and its tensors are right in all of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

import ttreg

X = torch.arange(6.0).reshape(2, 3)


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def emulated():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def test_a_thread_reads_a_tensor_of_the_block(device):
    with device as session:
        a = session.to_device(X)
        assert in_a_thread(lambda: a.tolist()) == X.tolist()
        assert in_a_thread(lambda: (a + 1).tolist()) == (X + 1).tolist()
        assert in_a_thread(lambda: repr(a)) == repr(X)


def test_a_write_by_another_thread_is_seen_in_the_block(device):
    with device as session:
        a = session.to_device(X)
        view = a.t()
        before = view + 0
        in_a_thread(lambda: a.add_(1))
        after = view + 0
        a.mul_(2)
        assert in_a_thread(lambda: a.tolist()) == (2 * X + 2).tolist()
    assert before.tolist() == X.t().tolist()
    assert after.tolist() == (X + 1).t().tolist()


def test_a_view_made_by_another_thread_shares_memory(device):
    with device as session:
        a = session.to_device(X)
        row = in_a_thread(lambda: a[1])
        row.add_(10)
        a.mul_(2)
        total = a + 0
    expected = X.clone()
    expected[1] += 10
    assert a.tolist() == total.tolist() == (expected * 2).tolist()
    assert row.tolist() == (expected * 2)[1].tolist()


def test_calls_of_another_thread_are_not_counted(device):
    with device as session:
        in_a_thread(lambda: X + 1)
    assert session.report().totals.calls == 0


def test_a_thread_enters_a_block_of_its_own(device):
    def program():
        with emulated() as own:
            result = own.to_device(X) + 1
        return result, own.report().totals.calls

    with device as session:
        result, calls = in_a_thread(program)
        b = result + session.to_device(X)
    assert calls >= 1
    assert b.tolist() == (2 * X + 1).tolist()


def test_one_object_is_entered_by_two_threads_at_once(device):
    barrier = threading.Barrier(2, timeout=60)

    def program(offset):
        with device as session:
            barrier.wait()
            result = session.to_device(X) + offset
            barrier.wait()
            result = result * 2
            barrier.wait()
        return torch.utils._python_dispatch._get_current_dispatch_mode(), result.tolist()

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(program, i) for i in range(2)]]
    assert outcomes == [(None, ((X + i) * 2).tolist()) for i in range(2)]


def test_many_threads_compute_what_one_does(device):
    weight = torch.nn.Parameter(torch.arange(9.0).reshape(3, 3))

    def program(seed):
        with emulated() as session, torch.no_grad():
            a = session.to_device(X + seed)
            for _ in range(5):
                a = a @ weight / 16
                a[0].add_(1)
            return a.tolist()

    def expected(seed):
        a = X + seed
        with torch.no_grad():
            for _ in range(5):
                a = a @ weight / 16
                a[0].add_(1)
        return a.tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(program, range(8))) == [expected(seed) for seed in range(8)]


def test_threads_share_one_tensor_of_the_block(device):
    with device as session:
        a = session.to_device(X)
        with ThreadPoolExecutor(4) as pool:
            sums = list(pool.map(lambda i: (a + i).tolist(), range(16)))
    assert sums == [(X + i).tolist() for i in range(16)]


def test_backward_runs_in_the_block_whose_thread_calls_it(device):
    with device as session:
        a = session.to_device(X).requires_grad_()
        (a * a).sum().backward()
    assert a.grad.tolist() == (2 * X).tolist()


def test_a_session_ended_by_one_thread_leaves_tensors_of_another_readable(device):
    ready, done = threading.Event(), threading.Event()
    kept = []

    def program():
        with emulated() as session:
            kept.append(session.to_device(X) + 1)
            ready.set()
            done.wait(60)

    thread = threading.Thread(target=program)
    thread.start()
    ready.wait(60)
    during = (kept[0] * 2).tolist()
    done.set()
    thread.join()
    assert during == ((X + 1) * 2).tolist()
    assert kept[0].tolist() == (X + 1).tolist()
