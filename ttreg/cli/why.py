"""`ttreg why`: where a call would go, and what it lacks for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Command, Json, answer, bad_usage, complete_op, import_torch, print_fields, print_json

if TYPE_CHECKING:
    from ..explain.why import Answer

_PLACES = {
    "device": "runs on the device",
    "host": "runs on the host",
    "local": "may run on the device, but has no input there and is too small to bring it",
    "decomposed": "is decomposed into its parts",
    "view": "is a view: it moves nothing until its data is needed",
}


def why(
    op: Annotated[str, typer.Argument(help="An op, such as conv2d or aten.add.Tensor.", autocompletion=complete_op)],
    args: Annotated[
        str, typer.Option(help="Its arguments, such as 'f32[1, 64, 56, 56], dim=[1]'; they are read, not evaluated.")
    ] = "",
    json: Json = False,
) -> None:
    """Say whether the device runs a call; if not, which condition refuses it, and the nearest call that it runs.

    Tensors are f32[1, 64, 56, 56], or float32[1, 64, 56, 56] as in error messages; f32[] has no dimensions;
    f32[2, 3](1, 2) has strides, f32[1, 3, 8, 8](channels_last) a memory format. They count as being on the device.
    """
    import_torch()
    from ..explain.lookup import UnknownOpError, find_op
    from ..explain.why import Oracle
    from ..notation import ArgumentsError, read
    from ..without_compiler import without_compiler

    if not args and op.endswith(")"):  # a whole call, as an error message shows it
        op, _, args = op[:-1].partition("(")
    try:
        found = find_op(op)
    except UnknownOpError as error:
        bad_usage(str(error), "op")
    try:
        with without_compiler():
            said = Oracle().ask(found, *read(args))
    except ArgumentsError as error:
        bad_usage(str(error), "--args")
    if json:
        print_json(said)
    else:
        _show(said)
    answer(said.accepted)


def _show(said: Answer) -> None:
    typer.secho(f"{said.op} {_PLACES[said.placement]}", fg="green" if said.accepted else "red")
    fields = [("call", said.call), ("condition", said.condition), ("got", said.got), ("because", said.because)]
    fields.append(("provided", said.provided))
    if said.nearest is not None:
        changes = ", ".join(f"{name}={value}" for name, value in said.nearest.change.items())
        fields.append(("runs with", changes))
    print_fields(fields)
    for part in said.parts:
        typer.secho(f"  {part.op} {_PLACES[part.placement]}", fg="green" if part.accepted else "red")
        print_fields([("condition", part.condition), ("got", part.got), ("because", part.because)], indent=4)


COMMAND = Command(
    "why",
    why,
    example="ttreg why conv2d --args 'f32[1, 64, 56, 56], f32[64, 64, 3, 3], padding=[1, 1]'",
    json="explain.why:Answer",
    no="the device does not run the call",
)
