"""`ttreg config`: each setting, and where it comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from .shared import Command, Json, bad_usage, print_columns, print_json


def config(
    names: Annotated[list[str] | None, typer.Argument(help="Settings to show; all if none.")] = None,
    json: Json = False,
) -> None:
    """Show the settings that `ttreg.device_mode()` would use here, and where each comes from."""
    from ..settings import listed

    settings = listed()
    known = [setting.name for setting in settings]
    if unknown := [name for name in names or () if name not in known]:
        bad_usage(f"no setting is named {', '.join(unknown)}; known are {', '.join(known)}", "names")
    settings = [setting for setting in settings if not names or setting.name in names]
    if json:
        print_json(settings)
    else:
        gives = any(setting.gives for setting in settings)
        rows = [("setting", "value", "from", "gives"), *((s.name, str(s.value), s.source, s.gives) for s in settings)]
        print_columns([row if gives else row[:3] for row in rows])


COMMAND = Command(
    "config",
    config,
    example="TTREG_ON_FALLBACK=warn ttreg config on_fallback",
    json="settings:Setting",
    json_form="an array",
)
