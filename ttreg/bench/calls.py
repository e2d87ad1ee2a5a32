"""The calls that an entry is benchmarked with: its own samples, and shapes that real models give its op."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from ..call import Call, bind_arguments
from ..meta import Meta
from ..notation import read, write_call
from ..registry import Entry
from ..samples import Sample, rand

Shapes = Literal["samples", "real", "both"]

# At most eight calls of each op, drawn from the tables of calls in real models that tenstorrent/pytorch2.0_ttnn
# has published.
DATA = Path(__file__).with_name("shapes.jsonl")


def calls(entry: Entry, shapes: Shapes) -> Iterator[tuple[str, Sample]]:
    """Each call with its source, "samples" or "real". Values are the same each time."""
    if shapes != "real":
        for sample in entry.samples():
            yield "samples", sample
    if shapes != "samples":
        torch.manual_seed(0)
        for text in real_shapes().get(str(entry.op), ()):
            bound = bind_arguments(entry.op, *read(text))
            by_name = [argument.name for argument in entry.op._schema.arguments if argument.kwarg_only]
            keywords = {name: _filled(bound.pop(name)) for name in by_name}
            yield "real", Sample(*map(_filled, bound.values()), **keywords)


def described(entry: Entry, sample: Sample) -> str:
    """The call as `ttreg why --args` takes it, without what the schema fills in."""
    given = bind_arguments(entry.op, sample.args, sample.kwargs)
    defaults = {a.name: a.default_value for a in entry.op._schema.arguments if a.has_default_value()}
    shown = Call.bind(entry.op, sample.args, sample.kwargs).arguments
    return write_call({name: shown[name] for name, value in given.items() if value is not defaults.get(name, ...)})


@lru_cache
def real_shapes() -> dict[str, list[str]]:
    """The calls of each op in the data file."""
    found: dict[str, list[str]] = {}
    for line in DATA.read_text().splitlines():
        item = json.loads(line)
        found.setdefault(item["op"], []).append(item["call"])
    return found


def _filled(value: Any) -> Any:
    """Tensors for metadata: random floating-point values; else zeros, which are valid indices."""
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if not isinstance(value, Meta):
        return value
    return (
        rand(*value.shape, dtype=value.dtype)
        if value.dtype.is_floating_point
        else torch.zeros(value.shape, dtype=value.dtype)
    )
