"""The file of a run of `ttreg verify --values`: a line that says what was measured, then a line for each verdict."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import TtregError
from ..settings import Settings
from .verify import Verdict

# Settings that what is computed depends on.
OF_VALUES = ("precision", "float32", "attention")


def as_usual(**keywords: Any) -> dict[str, Any]:
    """The keywords, completed with the defaults of all others, so that the environment has no effect."""
    return {**asdict(Settings()), "min_upload_numel": 0, **keywords}


class Run(BaseModel):
    """What a file's values were measured with."""

    model_config = ConfigDict(extra="forbid")

    ttnn: str
    on: str  # "a chip", or the simulator
    taken: str  # the day of the first value
    settings: dict[str, str] = {}  # keywords of `device_mode` that values depend on, where they are not the usual ones
    ttreg: str = ""
    torch: str = ""

    @classmethod
    def of_here(cls, settings: Mapping[str, Any]) -> Run:
        """A new run in this environment."""
        simulator = os.environ.get("TT_METAL_SIMULATOR", "")
        return cls(
            ttnn=importlib.metadata.version("ttnn"),
            on=f"the simulator {Path(simulator).name}" if simulator else "a chip",
            taken=date.today().isoformat(),
            settings={n: str(v) for n, v in settings.items() if n in OF_VALUES and v != getattr(Settings(), n)},
            ttreg=importlib.metadata.version("ttreg"),
            torch=importlib.metadata.version("torch"),
        )


def read(path: Path) -> tuple[Run, list[Verdict]]:
    """The run and its verdicts. An incomplete last line, left by a run that was interrupted, is ignored.

    Raises TtregError where the file cannot be read or is something else, with the line, and for another ttnn's values.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
    except OSError as error:
        raise TtregError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise TtregError(f"{path} is not what ttreg verify --values --out writes: it is no text") from None
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    kinds: Iterator[type[BaseModel]] = iter([Run])
    found: list[Any] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(next(kinds, Verdict).model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the line"
            what = f"{path} is not what ttreg verify --values --out writes"
            raise TtregError(f"{what} (line {number}, {where}: {fault['msg']})") from error
    if not found:
        raise TtregError(f"{path} is not what ttreg verify --values --out writes: it is empty")
    run, verdicts = found[0], found[1:]
    here = importlib.metadata.version("ttnn")
    if run.ttnn != here:
        raise TtregError(f"{path} has values of ttnn {run.ttnn}, and this is ttnn {here}: they do not go together")
    if any(verdict.values is None for verdict in verdicts):
        raise TtregError(f"{path} has verdicts without values, which are of no use here")
    return run, verdicts


def resume(path: Path, run: Run) -> list[Verdict]:
    """The verdicts in the file. Makes the file if there is none, and removes an incomplete last line.

    Raises TtregError where it cannot be continued: it was measured on something else, or with other settings.
    """
    if not path.exists() or not path.stat().st_size:
        path.write_text(run.model_dump_json() + "\n")
        return []
    before, verdicts = read(path)
    for what, theirs, ours in (("on", before.on, run.on), ("with", before.settings, run.settings)):
        if theirs != ours:
            usual = "the usual settings"
            raise TtregError(f"{path} was measured {what} {theirs or usual}, and this run is {what} {ours or usual}")
    text = path.read_text()
    if not text.endswith("\n"):
        path.write_text(text[: text.rindex("\n") + 1])
    return verdicts


def appended(path: Path, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """The verdicts, each written to the file as it comes; not those for which there was no chip, to be tried again."""
    with path.open("a") as file:
        for verdict in verdicts:
            if verdict.values is not None and verdict.values.status != "unavailable":
                file.write(verdict.model_dump_json() + "\n")
                file.flush()
            yield verdict
