"""What the commands share: how they are described, where they print, and how they exit."""

from __future__ import annotations

import gc
import logging
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from ..errors import TtregError

if TYPE_CHECKING:
    from rich.console import Console

    from ..reporting.fitted import Fitted

WIDTH = 120  # columns of a table where the output is no terminal

YES, NO, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

Item = TypeVar("Item")
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead, in the form that docs/commands.md describes.")]


@dataclass(frozen=True)
class Command:
    """A command of `ttreg`: the function, an example of its use, and what its output and exit codes mean."""

    name: str
    run: Callable[..., None]
    example: str
    json: str  # the type that `--json` prints, as `module:Type` below `ttreg`
    json_form: str = "an object"  # or an array of them, or a line for each
    no: str = ""  # what exit code 1 says
    takes_a_program: bool = False  # with arguments of its own, whatever they look like

    @property
    def epilog(self) -> str:
        """What stands below the options in `--help`."""
        no = f"{NO} {self.no}; " if self.no else ""
        exits = f"Exit codes: {YES} ok; {no}{BAD_USAGE} bad usage; {INTERRUPTED} interrupted."
        return f"Example: {self.example}\n\n{exits}"

    @property
    def context_settings(self) -> dict[str, bool]:
        """How click reads the command line."""
        return {"allow_interspersed_args": not self.takes_a_program}


class Commands(TyperGroup):
    """The group of all commands. It sets the exit codes of ttreg's errors and of Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TtregError as error:
            typer.secho(f"Error: {error}", fg="red", err=True)
            raise typer.Exit(BAD_USAGE) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


def console() -> Console:
    """The console on stdout, as wide as the terminal; piped, it has no colour, and tables have at most 120 columns."""
    return _console(stderr=False)


def errors() -> Console:
    """The console on stderr, for what is not the answer."""
    return _console(stderr=True)


def _console(stderr: bool, piped_width: int = WIDTH) -> Console:
    import os

    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = piped_width
    return made


def table(*headings: str, **options: Any) -> Fitted:
    """An empty table that wraps cells which do not fit, because rich would truncate them."""
    from rich.table import Column

    from ..reporting.fitted import Fitted

    return Fitted(*(Column(heading, overflow="fold") for heading in headings), **options)


def tracked(items: Iterable[Item], what: str, total: float | None = None) -> Iterator[Item]:
    """The items, with a progress bar on stderr while they come; none where that is no terminal."""
    from rich.progress import track

    bar = errors()
    yield from track(items, what, total=total, console=bar, transient=True, disable=not bar.is_terminal)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life on stderr while the context is open, where that is a terminal."""
    with errors().status(what):
        yield


def print_json(value: Any) -> None:
    """Print pydantic models, dataclasses, or a list of them, on stdout."""
    typer.echo(as_json(value))


def as_json(value: Any) -> str:
    """The same as a text. Paths may have bytes that are no UTF-8, as JSON has to be: they are shown as `?`."""
    import json

    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        return to_json(value, indent=1).decode()
    except PydanticSerializationError:
        text = json.dumps(to_jsonable_python(value), indent=1, ensure_ascii=False)
        return text.encode(errors="replace").decode()


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first a heading, in aligned columns; on a terminal, lines are cut to its width.

    This is no table of rich, because its import and layout take longer than the rest of `ttreg list`.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if limit is not None and len(line) > limit:
            line = f"{line[: limit - 1]}…"
        typer.secho(line, bold=True if number == 0 else None)


def print_fields(fields: Iterable[tuple[str, str]], indent: int = 2) -> None:
    """Print a line for each name and text that is not empty; on a terminal, texts are wrapped to its width."""
    shown = [(name, line) for name, text in fields for line in text.splitlines() if line]
    column = indent + max((len(name) for name, _ in shown), default=0) + 2
    before = ""
    for name, line in shown:
        start = f"{' ' * indent}{name if name != before else ''}".ljust(column)
        limit = max(shutil.get_terminal_size().columns, column + 20) if sys.stdout.isatty() else sys.maxsize
        typer.echo(textwrap.fill(line, limit, initial_indent=start, subsequent_indent=" " * column))
        before = name


def import_torch() -> None:
    """Import PyTorch for a short command, without garbage collection during the import or at the end.

    The collection would find nothing and take a quarter of the command's time.
    """
    if "torch" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


def complete_op(incomplete: str) -> list[str]:
    """The ops with entries whose names start so, for the shell to complete."""
    import_torch()
    from ..registry import registry

    names = {str(entry.op).removeprefix("aten.").partition(".")[0] for entry in registry}
    return sorted(name for name in names if name.startswith(incomplete.removeprefix("aten.")))


Ops = Annotated[
    list[str] | None,
    typer.Argument(help="Parts of op names, names with * and ?, or families; all if none.", autocompletion=complete_op),
]


def answer(yes: bool) -> NoReturn:
    """Leave the command with the exit code for the answer."""
    raise typer.Exit(YES if yes else NO)


def bad_usage(message: str, option: str) -> NoReturn:
    """Exit, and say what is wrong with an argument or option."""
    raise typer.BadParameter(message, param_hint=f"'{option}'")  # as typer's own errors show it


def check_writable(path: Path, option: str) -> None:
    """Leave the command, before it does its work, if no file can be written there."""
    if path.is_dir() or not path.parent.is_dir():
        bad_usage(f"{path} cannot be written: name a file in a folder that exists", option)


def check_plot(path: Path) -> None:
    """Leave the command, before it does its work, if no plot can be drawn there."""
    from ..bench.plot import kinds

    try:
        known = kinds()
    except ImportError:
        bad_usage("a plot needs matplotlib: pip install matplotlib", "--plot")
    if path.suffix[1:].lower() not in known:
        bad_usage(f"cannot draw into {path}: expected a name that ends in .svg, .png or .pdf", "--plot")
    check_writable(path, "--plot")


def check_ops(patterns: Iterable[str]) -> None:
    """Leave the command if a pattern names no op that has a lowering, nor a family of them."""
    from ..registry import registry

    for pattern in patterns:
        if not registry.matching([pattern], "device"):
            if others := registry.matching([pattern]):
                bad_usage(f"{others[0].op} has no lowering: ttreg show {pattern} says why", "ops")
            bad_usage(f"no lowering or family is named {pattern}{hint(pattern)}", "ops")


def hint(pattern: str) -> str:
    """A hint for the message that nothing is named `pattern`: ops with a similar name, if there are any."""
    from ..explain.lookup import closest

    close = closest(pattern)
    return f"; ops that are spelt like it: {', '.join(close)}" if close else ""


def log_to_stderr(level: int) -> None:
    """Show the records of the logger `ttreg` from `level` up on stderr."""
    from rich.logging import RichHandler

    logger = logging.getLogger("ttreg")
    console = _console(stderr=True, piped_width=1000)  # a record stays in one line
    logger.handlers = [RichHandler(console=console, show_path=False)]
    logger.setLevel(level)
