"""Options that are keywords of `device_mode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from ..settings import Settings


def option(name: str, kind: Any, described: Any, **default: Any) -> Parameter:
    """Make a parameter of a command from a setting."""
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, described], **default)


def keywords(*names: str) -> Iterator[Parameter]:
    """An option for each of the settings, or for those that are named."""
    for field in fields(Settings):
        if not names or field.name in names:
            kind = bool if isinstance(field.default, bool) else str
            described = typer.Option(help=f"As the keyword {field.name} of device_mode.", show_default=False)
            yield option(field.name, kind | None, described, default=None)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the user gave."""
    return {name: value for name, value in values.items() if value is not None}


def take(command: Callable[..., None], parameters: list[Parameter]) -> None:
    """Give these parameters to a command, which is called with keywords."""
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
