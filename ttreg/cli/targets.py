"""The targets of `ttreg coverage` and `ttreg bisect` as the command line takes them, run with their own errors."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .program import FAILED, Program, print_error
from .shared import INTERRUPTED, bad_usage, working

if TYPE_CHECKING:
    from ..coverage.targets import Target


@dataclass
class Outcome:
    """How a program ended: its result, its error, and the exit code that Python would have had."""

    returned: Any = None
    failed: str = ""
    ending: Any = 0


@dataclass
class Loaded:
    """A program to run in a block. `target` comes from a factory or an exported file."""

    run: Callable[[AbstractContextManager[Any]], Outcome]
    target: Target | None = None


def load(name: str, arguments: Sequence[str]) -> Loaded:
    """The program of a target. Exits if there are arguments and the target is not a script.

    Raises TargetError if there is none.
    """
    from ..coverage.targets import TargetError, existing, from_export, from_factory

    if name.endswith(".py"):
        return Loaded(_of_script(str(existing(name)), arguments))
    check_takes_arguments(name, arguments)
    with working(f"{name}: loading"):
        try:
            target = from_export(existing(name)) if name.endswith(".pt2") else from_factory(name)
        except TargetError as error:
            if error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            raise
    return Loaded(_of_target(target), target)


def check_takes_arguments(name: str, arguments: Sequence[str]) -> None:
    """Exit if there are arguments and the target is not a script."""
    if arguments and not name.endswith(".py"):
        bad_usage(f"{' '.join(arguments)}: only a script takes arguments", "arguments")


def _of_script(name: str, arguments: Sequence[str]) -> Callable[[AbstractContextManager[Any]], Outcome]:
    program = Program(name, arguments)

    def run(block: AbstractContextManager[Any]) -> Outcome:
        ending = program.run(block)[1]
        if ending == INTERRUPTED:
            raise KeyboardInterrupt
        return _left(ending)

    return run


def _of_target(target: Target) -> Callable[[AbstractContextManager[Any]], Outcome]:
    def program() -> Any:
        return target.run()

    def run(block: AbstractContextManager[Any]) -> Outcome:
        try:
            with block:
                return Outcome(program())
        except SystemExit as request:
            return _left(request.code)
        except Exception as error:  # an error of the program; the calls before it are still shown
            print_error(error, program.__code__)
            return Outcome(failed=f"{type(error).__name__}: {error}".partition("\n")[0], ending=FAILED)

    return run


def _left(code: Any) -> Outcome:
    return Outcome(failed=f"it left with {code}" if code else "", ending=code)
