"""`device_mode` as a decorator: each call is a block, and what waits hands over only its own steps."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils._python_dispatch import _len_torch_dispatch_stack

import ttreg

X = torch.arange(6.0).reshape(2, 3)


def modes() -> int:
    return _len_torch_dispatch_stack()


def adds(session) -> int:
    return sum(row.count for row in session.report().ops if row.op == "aten.add.Tensor" and row.placement == "device")


@pytest.fixture
def mode():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def test_a_function_runs_in_a_block_at_each_call(mode):
    @mode
    def add(x, *, number=1):
        """Adds."""
        assert modes() == 1
        return x + number

    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert list(inspect.signature(add).parameters) == ["x", "number"]
    results = [add(X), add(X, number=2)]
    assert modes() == 0
    assert [result.tolist() for result in results] == [(X + 1).tolist(), (X + 2).tolist()]
    with mode as session:
        assert adds(session) == 2


def test_it_decorates_with_and_without_arguments(monkeypatch):
    monkeypatch.setenv("TTREG_DEVICE", "emulated")

    @ttreg.device_mode
    def bare(x):
        return x + modes()

    @ttreg.device_mode(device="emulated")
    def called(x):
        return x + modes()

    assert bare(X).tolist() == called(X).tolist() == (X + 1).tolist()


def test_a_function_that_calls_itself(mode):
    @mode
    def power(x, n):
        assert modes() == 4 - n
        result = x if n == 0 else power(x, n - 1) + x
        assert modes() == 4 - n
        return result

    assert power(X, 3).tolist() == (4 * X).tolist()
    assert modes() == 0


def test_threads_call_a_function_at_once(mode):
    barrier = threading.Barrier(4, timeout=60)

    @mode
    def add(number):
        barrier.wait()
        return (X + number) * modes()

    with ThreadPoolExecutor(4) as pool:
        results = [result.tolist() for result in pool.map(add, range(4))]
    assert results == [(X + number).tolist() for number in range(4)]


def test_an_exception_ends_the_block_of_the_call(mode):
    @mode
    def fails():
        raise KeyError(modes())

    with pytest.raises(KeyError, match="1"):
        fails()
    assert modes() == 0


def test_a_generator_hands_over_its_steps_and_not_what_is_done_between_them(mode):
    seen = []

    @mode
    def steps(x):
        try:
            while True:
                try:
                    x = x + (yield x)
                    seen.append(modes())
                except ValueError:
                    yield "caught"
        except GeneratorExit:
            seen.append(("closed", modes()))
            raise

    assert inspect.isgeneratorfunction(steps)
    generator = steps(X)
    assert next(generator) is X
    assert modes() == 0
    assert generator.send(1).tolist() == (X + 1).tolist()
    assert generator.throw(ValueError) == "caught"
    assert modes() == 0
    next(generator)
    with mode as session:
        kept = generator.send(2)
        assert kept._cell.storage is None  # the session lasts as long as the generator
    assert adds(session) == 2
    assert kept._cell.storage is None
    generator.close()
    assert seen == [1, 2, ("closed", 1)]
    assert kept.tolist() == (X + 3).tolist()


def test_a_generator_gives_back_what_it_returns(mode):
    @mode
    def steps():
        yield modes()
        return X + modes()

    def outer():
        result = yield from steps()
        yield result.tolist()

    assert list(outer()) == [1, (X + 1).tolist()]
    assert list(mode(lambda: (yield))()) == [None]


def test_coroutines_take_turns_and_each_hands_over_its_own_steps():
    other = ttreg.device_mode(device="emulated", min_upload_numel=0)
    mode = ttreg.device_mode(device="emulated", min_upload_numel=0)
    seen = []

    async def program(x, number):
        for _ in range(3):
            x = x + number
            seen.append(modes())
            await asyncio.sleep(0)
        return x

    async def outside():
        for _ in range(3):
            assert modes() == 0
            await asyncio.sleep(0)

    async def all_of_them():
        return await asyncio.gather(mode(program)(X, 1), outside(), other(program)(X, 2), mode(program)(X, 3))

    decorated = mode(program)
    assert inspect.iscoroutinefunction(decorated)
    first, _, second, third = asyncio.run(all_of_them())
    assert [t.tolist() for t in (first, second, third)] == [(X + n * 3).tolist() for n in (1, 2, 3)]
    assert seen == [1] * 9
    with mode as session, other as others:
        assert (adds(session), adds(others)) == (6, 3)


def test_a_coroutine_that_is_cancelled_ends_its_block(mode):
    seen = []

    @mode
    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(modes())

    async def cancel():
        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen == [1]
    assert (mode._open, modes()) == ([], 0)


def test_an_asynchronous_generator(mode):
    seen = []

    @mode
    async def steps(x):
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                x = x + (yield x)
                seen.append(modes())
        finally:
            seen.append(("closed", modes()))

    async def program():
        generator = steps(X)
        results = [await generator.asend(None)]
        results.append(await generator.asend(1))
        assert modes() == 0
        results.append(await generator.asend(2))
        await generator.aclose()
        return [result.tolist() for result in results]

    results = asyncio.run(program())
    assert results == [X.tolist(), (X + 1).tolist(), (X + 3).tolist()]
    assert seen == [1, 1, ("closed", 1)]


def test_methods_of_a_class_are_decorated_and_the_class_is_not(mode):
    class Model:
        @mode
        def method(self, x):
            return x + modes()

        @mode
        @staticmethod
        def static(x):
            return x + modes()

        @mode
        @classmethod
        def of_class(cls, x):
            return x + modes()

    model = Model()
    assert model.method(X).tolist() == model.static(X).tolist() == Model.of_class(X).tolist() == (X + 1).tolist()
    with pytest.raises(TypeError, match="decorate each of the methods"):
        mode(Model)
    with pytest.raises(TypeError, match="by keyword"):
        ttreg.device_mode("emulated")
