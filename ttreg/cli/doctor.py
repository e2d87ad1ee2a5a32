"""`ttreg doctor`: what ttreg needs of this machine."""

from __future__ import annotations

from .shared import Command, Json, answer, console, print_json, table, tracked


def doctor(json: Json = False) -> None:
    """Look at what ttreg needs on this machine."""
    from rich.markup import escape

    from ..devices.doctor import examine

    lines = list(tracked(examine(), "looking", total=11))
    if json:
        print_json(lines)
    else:
        shown = table("", "", "found", "what to do", box=None)
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for line in lines:
            shown.add_row(
                f"[{colours[line.status]}]{line.status}[/]", line.name, escape(line.found), escape(line.advice)
            )
        console().print(shown)
    answer(all(line.status != "fail" for line in lines))


COMMAND = Command(
    "doctor",
    doctor,
    example="ttreg doctor --json",
    no="something is broken",
    json="devices.doctor:Line",
    json_form="an array",
)
