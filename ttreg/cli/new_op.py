"""`ttreg new-op`: a skeleton of an entry."""

from __future__ import annotations

from typing import Annotated

import typer

from .shared import Command, Json, answer, bad_usage, print_json, tracked, working


def new_op(
    op: Annotated[str, typer.Argument(help="An op without an entry, such as heaviside or aten.heaviside.default.")],
    check: Annotated[bool, typer.Option("--verify/--no-verify", help="Try it on a mocked chip.")] = True,
    arch: Annotated[str, typer.Option(help="wormhole_b0 or blackhole.")] = "wormhole_b0",
    json: Json = False,
) -> None:
    """Print an entry to go on from: arguments from the schema, samples from PyTorch's tests, ttnn's functions by name.

    What `ttreg verify` says of it follows as comments, so that the output is a module as it stands.
    """
    from ..explain.skeleton import skeleton, tried
    from ..settings import ARCHS

    if arch not in ARCHS:
        bad_usage(f"{arch!r}; expected {' or '.join(ARCHS)}", "--arch")
    with working("reading PyTorch's tests"):
        made = skeleton(op)
    if check:
        made.verdicts = list(tracked(tried(made, arch), "verifying", total=made.samples))
    if json:
        print_json(made)
        answer(True)
    typer.echo(made.code, nl=False)
    if made.verdicts:
        typer.echo()
    for verdict in made.verdicts:
        said = (verdict.error or "passed") if verdict.accepted else "refused by a condition, as it should be"
        lines = f"{arch}, sample {verdict.sample}: {said}".splitlines()
        typer.echo("\n".join(f"# {line}" for line in lines))


COMMAND = Command(
    "new-op",
    new_op,
    example="ttreg new-op heaviside --no-verify > my_ops.py",
    json="explain.skeleton:Skeleton",
)
