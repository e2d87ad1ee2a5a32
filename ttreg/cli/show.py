"""`ttreg show`: all that the registry knows of an op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Command, Json, bad_usage, complete_op, print_fields, print_json

if TYPE_CHECKING:
    from ..explain.catalogue import Detail


def show(
    op: Annotated[str, typer.Argument(help="An op, such as conv2d or aten.add.Tensor.", autocompletion=complete_op)],
    json: Json = False,
) -> None:
    """Show an op's entries: conditions and why they are there, lowering, forms, samples, limits of ttnn."""
    from ..explain.catalogue import detail
    from ..explain.lookup import UnknownOpError, entries_of

    try:
        details = [detail(entry) for entry in entries_of(op)]
    except UnknownOpError as error:
        bad_usage(str(error), "OP")
    if json:
        print_json(details)
        return
    for number, one in enumerate(details):
        if number:
            typer.echo()
        _show(one)


def _show(one: Detail) -> None:
    where = {"device": "runs on the device if every condition holds", "host": "runs on the host"}
    typer.secho(f"{one.op} {where.get(one.placement, 'is decomposed into its parts')}", bold=True)
    fields = [("schema", one.op_schema), ("family", f"{one.family} ({one.module})")]
    for says in one.conditions:
        fields.append(("condition", f"{says.condition}, because {says.because}" if says.because else says.condition))
    fields += [("serves too", form) for form in one.forms]
    fields.append(("promotes", ", ".join(one.promoted)))
    fields.append(("indices", ", ".join(one.indices)))
    fields.append(("decomposition", one.decomposition))
    for sample in one.samples:
        fields.append(("sample", f"{sample.call}{': refused by ' if sample.refused else ''}{sample.refused}"))
    for limit in one.limits:
        fields.append(("ttnn", f"{limit.ttnn}: {limit.ttreg} (known from {limit.known_from})"))
    if one.lowering is not None:
        fields.append(("lowering", f"{one.lowering.name} in {one.lowering.source}"))
        fields += [("where", f"{name} = {value}") for name, value in one.lowering.around.items()]
    print_fields(fields)
    if one.lowering is not None and one.lowering.code:
        typer.echo("\n" + "\n".join(f"    {line}".rstrip() for line in one.lowering.code.splitlines()))


COMMAND = Command(
    "show",
    show,
    example="ttreg show cumsum",
    json="explain.catalogue:Detail",
    json_form="an array",
)
