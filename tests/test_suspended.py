"""Blocks that end in another order than they began, or elsewhere: generators, tasks and threads wait inside them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading

import pytest
import torch
from torch.utils import _python_dispatch as of_modes
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as stack

import ttreg
from ttreg.blocks.dispatching import block_of_thread
from ttreg.pytorch_private import eager_depth, mode_flags

X = torch.arange(12.0).reshape(3, 4)


def emulated():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def rows(mode):
    """Sums made in a block, one a step, each with the block's session."""
    with mode as session:
        while True:
            yield X + 1, session


def calls(session):
    return session.report().totals.calls


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    assert (stack(), mode_flags(), eager_depth()) == ([], (False, False, False), 0)


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("last", ["close", "forget", "throw"])
def test_generators_end_in_the_order_in_which_they_began(last):
    first, second = rows(emulated()), rows(emulated())
    (_, one), (_, two) = next(first), next(second)
    if last == "close":
        first.close()
    elif last == "throw":
        with pytest.raises(ZeroDivisionError):
            first.throw(ZeroDivisionError())
    del first
    assert one.closed
    assert block_of_thread().session is two
    result, _ = next(second)
    assert (calls(one), calls(two)) == (1, 2)
    second.close()
    assert result.tolist() == (X + 1).tolist()
    assert two.closed


def test_blocks_of_one_object_that_are_left_in_any_order_share_its_session():
    mode = emulated()
    first, second = rows(mode), rows(mode)
    (_, session), _ = next(first), next(second)
    first.close()
    assert not session.closed
    result, _ = next(second)
    assert calls(session) == 3
    second.close()
    assert session.closed
    assert result.tolist() == (X + 1).tolist()


def test_a_block_that_waits_in_a_generator_outlives_the_one_around_it():
    with emulated() as outer:
        inner = rows(emulated())
        _, session = next(inner)
    assert outer.closed
    assert block_of_thread().session is session
    result, _ = next(inner)
    inner.close()
    assert result.tolist() == (X + 1).tolist()


def test_a_generator_that_nobody_holds_any_longer_ends_its_block_in_a_cycle_too():
    holder = [rows(emulated())]
    holder.append(holder)
    result, session = next(holder[0])
    del holder
    gc.collect()
    assert session.closed
    assert block_of_thread() is None
    assert result.tolist() == (X + 1).tolist()


def test_a_generator_that_another_thread_closes_ends_its_block():
    generator = rows(emulated())
    result, session = next(generator)
    in_a_thread(generator.close)
    assert session.closed
    assert block_of_thread() is None
    assert (type(X + 1), (X + 1).tolist(), calls(session)) == (torch.Tensor, (X + 1).tolist(), 1)
    assert result.tolist() == (X + 1).tolist()
    with emulated() as own:  # takes off the thread's stack what was left there
        assert len(stack()) == 1
        (X + 1).tolist()
    assert calls(own) == 1


def test_blocks_of_threads_that_overlap_leave_compiled_functions_compiled():
    one, two, left = threading.Event(), threading.Event(), threading.Event()

    def first():
        with emulated():
            one.set()
            assert two.wait(60)
        left.set()

    def second():
        assert one.wait(60)
        with emulated():
            two.set()
            assert left.wait(60)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not of_modes.is_in_torch_dispatch_mode()


def test_tasks_that_take_turns_each_have_their_own_block():
    async def work(steps):
        with emulated() as session:
            for _ in range(steps):
                result = X + 1
                await asyncio.sleep(0)
                assert block_of_thread().session is session
        return calls(session), result.tolist(), session.closed

    async def outside(steps):
        kinds = set()
        for _ in range(steps):
            kinds.add((type(X + 1), block_of_thread()))
            await asyncio.sleep(0)
        return kinds

    async def program():
        return await asyncio.gather(work(2), outside(8), work(5), work(3))

    wanted = (X + 1).tolist()
    assert asyncio.run(program()) == [(2, wanted, True), {(torch.Tensor, None)}, (5, wanted, True), (3, wanted, True)]


def test_tasks_of_one_object_share_its_session():
    mode = emulated()

    async def work(steps):
        with mode as session:
            for _ in range(steps):
                assert isinstance(X + 1, ttreg.DeviceTensor)
                await asyncio.sleep(0)
        return session

    async def program():
        return await asyncio.gather(work(1), work(4))

    first, second = asyncio.run(program())
    assert first is second
    assert (calls(first), first.closed) == (5, True)


def test_tasks_that_are_made_in_a_block_are_in_it():
    async def child():
        await asyncio.sleep(0)
        return X + 1

    async def program():
        with emulated() as session:
            made = await asyncio.gather(child(), child())
            return [type(one) for one in made], calls(session), made[0].tolist()

    assert asyncio.run(program()) == ([ttreg.DeviceTensor] * 2, 2, (X + 1).tolist())


@pytest.mark.parametrize("end", [asyncio.CancelledError, ValueError])
def test_a_task_that_fails_while_it_waits_ends_its_block_and_no_other(end):
    async def fails():
        with emulated() as session:
            ended.append(session)
            await asyncio.sleep(0)
            raise end

    async def goes_on():
        with emulated() as session:
            for _ in range(4):
                result = X + 1
                await asyncio.sleep(0)
        return calls(session), result.tolist()

    async def program():
        failed, fine = await asyncio.gather(fails(), goes_on(), return_exceptions=True)
        assert isinstance(failed, end)
        return fine

    ended = []
    assert asyncio.run(program()) == (4, (X + 1).tolist())
    assert ended[0].closed


def test_a_context_manager_written_as_a_generator_opens_a_block_for_its_user():
    @contextlib.contextmanager
    def opened():
        with emulated() as session:
            yield session

    @contextlib.asynccontextmanager
    async def opened_by_a_coroutine():
        await asyncio.sleep(0)
        with emulated() as session:
            yield session

    async def program():
        with opened() as session:
            await asyncio.sleep(0)
            X + 1
        async with opened_by_a_coroutine() as another:
            await asyncio.sleep(0)
            X + 1
        return calls(session), calls(another)

    with opened() as session:
        X + 1
    assert calls(session) == 1
    assert asyncio.run(program()) == (1, 1)
