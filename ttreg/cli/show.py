"""`ttreg show`: all that the registry knows of an op."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TtregError
from .shared import Command, Json, bad_usage, complete_op, import_torch, print_fields, print_json

if TYPE_CHECKING:
    from ..explain.catalogue import Detail, Measured


def show(
    op: Annotated[str, typer.Argument(help="An op, such as conv2d or aten.add.Tensor.", autocompletion=complete_op)],
    figures: Annotated[Path | None, typer.Option(help="Show what this file, of ttreg bench --json, has too.")] = None,
    json: Json = False,
) -> None:
    """Show an op's entries: conditions and why, lowering, forms, samples, limits of ttnn, accuracy on a chip.

    With --figures, also how long its calls took, on which machine and when.
    """
    import_torch()
    from ..explain.catalogue import detail
    from ..explain.lookup import UnknownOpError, entries_of
    from ..samples import one_thread

    try:
        with one_thread():
            details = [detail(entry) for entry in entries_of(op)]
    except UnknownOpError as error:
        bad_usage(str(error), "op")
    if figures is not None:
        details = _with_figures(details, figures)
    if json:
        print_json(details)
        return
    for number, one in enumerate(details):
        if number:
            typer.echo()
        _show(one)


def _with_figures(details: list[Detail], path: Path) -> list[Detail]:
    from ..bench.compare import read_benchmark
    from ..explain.figures import measured

    try:
        benchmark = read_benchmark(path)
    except TtregError as error:
        bad_usage(str(error), "--figures")
    return [replace(one, measured=measured(benchmark, one.op)) for one in details]


def _show(one: Detail) -> None:
    where = {"device": "runs on the device if every condition holds", "host": "runs on the host"}
    typer.secho(f"{one.op} {where.get(one.placement, 'is decomposed into its parts')}", bold=True)
    fields = [("schema", one.op_schema), ("family", f"{one.family} ({one.module})")]
    for says in one.conditions:
        fields.append(("condition", f"{says.condition}, because {says.because}" if says.because else says.condition))
    fields += [("serves too", form) for form in one.forms]
    fields += [("arrives", f"{name} {how}") for name, how in one.arrives.items()]
    fields.append(("decomposition", one.decomposition))
    fields += [("on a chip", text) for text in one.chip]
    for sample in one.samples:
        fields.append(("sample", f"{sample.call}{': refused by ' if sample.refused else ''}{sample.refused}"))
    for limit in one.limits:
        fields.append(("ttnn", f"{limit.ttnn}: {limit.ttreg} (known from {limit.known_from})"))
    if one.placement == "device":
        fields += [("accuracy", line) for line in _accuracy(one)]
    fields += [("measured", f"{timed.call}: {_times(timed)}") for timed in one.measured]
    fields.append(("on", one.measured[0].taken if one.measured else ""))
    if one.lowering is not None:
        fields.append(("lowering", f"{one.lowering.name} in {one.lowering.source}"))
        fields += [("where", f"{name} = {value}") for name, value in one.lowering.around.items()]
    print_fields(fields)
    if one.lowering is not None and one.lowering.code:
        typer.echo("\n" + "\n".join(f"    {line}".rstrip() for line in one.lowering.code.splitlines()))


def _accuracy(one: Detail) -> Iterator[str]:
    from ..explain.accuracy import NOT_MEASURED, in_words

    if not one.accuracy:
        yield NOT_MEASURED
    for said in one.accuracy:
        yield from in_words(said)
    for on in dict.fromkeys(said.on for said in one.accuracy):
        yield f"on {on}"


def _times(timed: Measured) -> str:
    from ..bench.ops import WAYS

    return ", ".join(f"{WAYS[way]} {time:,.1f} µs" for way, time in timed.microseconds.items()) or "failed"


COMMAND = Command(
    "show",
    show,
    example="ttreg show cumsum",
    json="explain.catalogue:Detail",
    json_form="an array",
)
