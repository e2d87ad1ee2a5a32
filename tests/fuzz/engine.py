"""A small fuzzer: changes texts at random, and goes on from those that reach lines of ttreg that none has reached."""

from __future__ import annotations

import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ttreg
from ttreg.errors import TtregError

ROOT = str(Path(ttreg.__file__).parent.parent)
SECONDS = 10  # of the processor that one input may take

NUMBERS = (
    "0",
    "-1",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "2147483648",
    "9223372036854775808",
    "1" * 5000,
    "0x10",
    "1_0",
)
STRANGE = (
    "\0",
    "\n",
    "\r\n",
    "\t",
    "é",
    "∞",
    "\U0001f600",
    "\udc80",
    "\ufeff",
    "'",
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
)
NESTED = ("[" * 200, "(" * 3000, "{" * 200, '{"a":' * 2000, "-" * 5000)


@dataclass(frozen=True)
class Target:
    """Something that reads text: raises nothing, or TtregErrors where the text is wrong."""

    name: str
    read: Callable[[str], Any]
    seeds: Sequence[str]
    words: Sequence[str] = ()
    share: int = 1  # of all inputs, beside the other targets


@dataclass
class Found:
    """An input that a target fails on, and how."""

    target: str
    text: str
    how: str


@dataclass
class Run:
    """What a run over one target came to."""

    inputs: int = 0
    refused: int = 0
    corpus: list[str] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)  # by the place that failed


def fuzz(target: Target, inputs: int, seed: int) -> Run:
    """Give the target its seeds, then so many texts made of them."""
    chance, run = random.Random(f"{seed} {target.name}"), Run(corpus=list(target.seeds))
    texts = [*target.seeds]
    with _new_lines() as reached:
        while run.inputs < inputs:
            text = texts.pop(0) if texts else changed(chance, run.corpus, target.words)
            before = len(reached)
            _try(target, text, run)
            if len(reached) > before and run.inputs > len(target.seeds):
                run.corpus.append(text)
    return run


def _try(target: Target, text: str, run: Run) -> None:
    run.inputs += 1
    try:
        with _limited():
            target.read(text)
    except TtregError as error:
        run.refused += 1
        if not str(error).strip():
            run.found.setdefault("no message", Found(target.name, text, f"{type(error).__name__} without a message"))
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(ROOT)]
        place = f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else repr(error)
        run.found.setdefault(place, Found(target.name, text, "".join(traceback.format_exception(error))))


@contextmanager
def _limited() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    # By the process's own time, since others may be at the processor; what waits for ever comes to the other limit.
    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, SECONDS),
        (signal.ITIMER_REAL, signal.SIGALRM, 60 * SECONDS),
    )
    before = [(name, signal.signal(name, ring)) for _, name, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for name, handler in before:
            signal.signal(name, handler)


@contextmanager
def _new_lines() -> Iterator[list[tuple[str, int]]]:
    """The lines of ttreg that run while the context is open, each once. CPython 3.10 cannot tell them cheaply."""
    reached: list[tuple[str, int]] = []
    watch: Any = getattr(sys, "monitoring", None)
    tool = 4
    if watch is None:
        yield reached
        return

    def note(code: Any, line: int) -> Any:
        if code.co_filename.startswith(ROOT):
            reached.append((code.co_filename, line))
        return watch.DISABLE

    watch.use_tool_id(tool, "ttreg fuzz")
    watch.register_callback(tool, watch.events.LINE, note)
    watch.restart_events()
    watch.set_events(tool, watch.events.LINE)
    try:
        yield reached
    finally:
        watch.set_events(tool, 0)
        watch.register_callback(tool, watch.events.LINE, None)
        watch.free_tool_id(tool)


def changed(chance: random.Random, corpus: Sequence[str], words: Sequence[str]) -> str:
    """A text of the corpus with one to four changes; now and then of its newest ones."""
    text = chance.choice(corpus[-8:] if chance.random() < 0.3 else corpus)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 4, 16)))
        text = text[:start] + _piece(chance, text, corpus, words) + text[end:]
    return text[:20_000]


def _piece(chance: random.Random, text: str, corpus: Sequence[str], words: Sequence[str]) -> str:
    kind = chance.randrange(8)
    if kind <= 2 and words:
        return chance.choice(words)
    if kind == 3:
        return chance.choice(NUMBERS)
    if kind == 4:
        return chance.choice(NESTED) if chance.random() < 0.1 else chance.choice(STRANGE)
    if kind == 5:
        other = chance.choice(corpus)
        start = chance.randint(0, len(other))
        return other[start : start + chance.randint(1, 30)]
    if kind == 6:
        start = chance.randint(0, len(text))
        return text[start : start + chance.randint(1, 10)] * chance.choice((1, 1, 2, 30))
    return "" if chance.random() < 0.7 else chr(chance.randrange(32, 127))
