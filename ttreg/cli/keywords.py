"""Options that are keywords of `device_mode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from ..settings import Settings

# What `--help` says of each; docs/settings.md explains them.
SAYS = {
    "device": "auto (a chip if there is one, else emulated), ttnn (a chip), emulated, or mock (no values).",
    "device_id": "Which chip.",
    "arch": "The emulated or mocked chip: wormhole_b0 or blackhole.",
    "validate": "Emulated only: make every call in real ttnn too, on a mocked chip.",
    "precision": "preserve, or bfloat16: carry float32 work in bfloat16.",
    "on_fallback": "When the host runs a floating-point call: allow, warn or raise.",
    "on_device_error": "When ttnn refuses a call or a lowering fails: raise, or fallback to the host.",
    "check": "Compare every device op with the host; a PCC such as 0.99.",
    "numerics": "Emulated only: golden, or chip (what a chip's kernels compute).",
    "float32": "Products, softmax and norms of float32: fast, or exact.",
    "buckets": "Rows in whose multiples tensors of varying sizes are held, or off.",
    "attention": "ttnn's fused kernel: auto, fused (wherever it takes a call) or exact (never).",
    "trace": "Write what happened when into this file, for Perfetto.",
    "visualizer": "Write a report for ttnn-visualizer into this folder; needs a chip, --device mock or --validate.",
    "progress": "Show on a terminal how far uploads of weights and new programs are.",
    "weight_cache": "Keep prepared weights in this folder, or 1 for the default one.",
    "weight_cache_bytes": "How much that folder may hold.",
    "min_upload_numel": "Calls whose inputs are all on the host and smaller stay there.",
    "l1_small_size": "Bytes of each core's L1 for halo tables.",
    "trace_region_size": "Bytes of DRAM for traces of the device.",
}


def option(name: str, kind: Any, described: Any, **default: Any) -> Parameter:
    """Make a parameter of a command from a setting."""
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, described], **default)


def keywords(*names: str) -> Iterator[Parameter]:
    """An option for each of the settings, or for those that are named."""
    for field in fields(Settings):
        if not names or field.name in names:
            kind = bool if isinstance(field.default, bool) else str
            described = typer.Option(help=SAYS[field.name], show_default=False)
            yield option(field.name, kind | None, described, default=None)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the user gave."""
    return {name: value for name, value in values.items() if value is not None}


def take(command: Callable[..., None], parameters: list[Parameter]) -> None:
    """Give these parameters to a command, which is called with keywords."""
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
