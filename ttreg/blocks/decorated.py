"""Functions that run under a mode each time they are called: generators and coroutines step by step."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

# Gives the context of a whole call, which in turn gives the context of each step.
Call = Callable[[], AbstractContextManager[Callable[[], AbstractContextManager[Any]]]]


def decorated(function: Any, call: Call) -> Any:
    """The function with each call run in `call()`. Each step of a call runs in the context that `call()` gives.

    Between steps, a generator or coroutine waits. Other code that runs meanwhile is outside of these contexts.
    """
    if inspect.isclass(function):
        raise TypeError(
            f"device_mode cannot decorate the class {function.__name__}, since it could mean its constructor or all of "
            "its methods: decorate each of the methods that are meant"
        )
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorated(function.__func__, call))
    if not callable(function):
        raise TypeError(f"device_mode decorates functions, and takes all else by keyword; got {function!r}")
    if inspect.isgeneratorfunction(function):
        return _generator(function, call)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, call)
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, call)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with call() as step, step():
            return function(*args, **kwargs)

    return run


def _generator(function: Callable[..., Generator], call: Call) -> Callable[..., Generator]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator:
        with call() as step:
            return (yield from _in_steps(function(*args, **kwargs), step))

    return run


def _coroutine(function: Callable[..., Any], call: Call) -> Callable[..., Any]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with call() as step:
            return await _Steps(function(*args, **kwargs), step)

    return run


def _async_generator(
    function: Callable[..., AsyncGenerator[Any, Any]], call: Call
) -> Callable[..., AsyncGenerator[Any, Any]]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with call() as step:
            generator: Any = function(*args, **kwargs)
            wanted: Awaitable[Any] = generator.__anext__()
            while True:
                try:
                    item = await _Steps(wanted, step)
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    await _Steps(generator.aclose(), step)
                    raise
                except BaseException as error:
                    wanted = generator.athrow(error)
                else:
                    wanted = generator.asend(sent)

    return run


class _Steps:
    """Awaits an awaitable, with each step in a context of its own."""

    def __init__(self, awaitable: Awaitable[Any], step: Callable[[], AbstractContextManager[Any]]):
        self._awaitable, self._step = awaitable, step

    def __await__(self) -> Generator[Any, Any, Any]:
        return _in_steps(self._awaitable.__await__(), self._step)


def _in_steps(steps: Any, step: Callable[[], AbstractContextManager[Any]]) -> Generator[Any, Any, Any]:
    """Yield and return what the generator does, with each step in a context of its own."""
    try:
        with step():
            item = steps.send(None)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                with step():
                    steps.close()
                raise
            except BaseException:
                with step():
                    item = steps.throw(sys.exc_info()[1])
            else:
                with step():
                    item = steps.send(sent)
    except StopIteration as end:
        return end.value
