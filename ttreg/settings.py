"""The keywords of `device_mode`, their environment variables, and what they may be."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import SettingsError

ARCHS = ("wormhole_b0", "blackhole")

# One tile. Measured with benchmarks/min_upload.py: two uploads and an `add` cost ttnn's host side about 48 µs up to
# 16,384 elements, the host's own `add` 2 to 4 µs, so small glue is left where it is; the limit is no higher because a
# network's small first input would keep the whole network on the host with it.
DEFAULT_MIN_UPLOAD_NUMEL = 1024

# Bytes. Convolutions keep their halo tables in this part of a core's L1: 32 KiB was enough for a 3 × 3 convolution over
# 56 × 56 × 64 (ours keep them in DRAM), twice that leaves room.
DEFAULT_L1_SMALL_SIZE = 65536


@dataclass(frozen=True)
class Settings:
    """What `device_mode` was asked for; see the README for each keyword."""

    device: str = "auto"
    device_id: int = 0
    arch: str = "wormhole_b0"
    validate: bool = False
    precision: str = "preserve"
    on_fallback: str = "allow"
    on_device_error: str = "raise"
    check: float | None = None
    min_upload_numel: int = DEFAULT_MIN_UPLOAD_NUMEL
    l1_small_size: int = DEFAULT_L1_SMALL_SIZE
    trace_region_size: int = 0

    @classmethod
    def resolve(cls, keywords: Mapping[str, Any]) -> Settings:
        """Keywords over environment variables over defaults.

        Raises SettingsError for an unknown keyword, variable or value, listing the known ones.
        """
        names = [f.name for f in fields(cls)]
        for name in keywords:
            if name not in names:
                raise SettingsError(_unknown("keyword of device_mode", name, names))
        values: dict[str, Any] = {}
        if "LOCAL_RANK" in os.environ:
            values["device_id"] = _parse("LOCAL_RANK", _integer, os.environ["LOCAL_RANK"])
        for variable, text in os.environ.items():
            if variable.startswith("TTREG_") and variable not in _OTHER_VARIABLES:
                name = variable.removeprefix("TTREG_").lower()
                if name not in names:
                    known = [f"TTREG_{n.upper()}" for n in names] + list(_OTHER_VARIABLES)
                    raise SettingsError(_unknown("environment variable", variable, known))
                values[name] = _parse(variable, _PARSERS[name], text)
        for name, value in keywords.items():
            values[name] = _parse(name, _PARSERS[name], value)
        return cls(**values)


_OTHER_VARIABLES = ("TTREG_CACHE_DIR",)


def _one_of(*known: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(map(repr, known))}")
        return value

    return parse


def _integer(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0 or isinstance(value, (bool, float)):
        raise ValueError("an integer, 0 or larger")
    return number


def _boolean(value: Any) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if str(value).lower() not in known or not isinstance(value, (bool, str)):
        raise ValueError("True or False (1 or 0 in the environment)")
    return known[str(value).lower()]


def _pcc(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number <= 1 or isinstance(value, bool):
        raise ValueError("None, or a PCC above 0 and at most 1, such as 0.99")
    return number


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "device": _one_of("auto", "ttnn", "emulated", "mock"),
    "device_id": _integer,
    "arch": _one_of(*ARCHS),
    "validate": _boolean,
    "precision": _one_of("preserve", "bfloat16"),
    "on_fallback": _one_of("allow", "warn", "raise"),
    "on_device_error": _one_of("raise", "fallback"),
    "check": _pcc,
    "min_upload_numel": _integer,
    "l1_small_size": _integer,
    "trace_region_size": _integer,
}


def _parse(name: str, parser: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parser(value)
    except ValueError as expected:
        raise SettingsError(f"{name} is {value!r}; expected {expected}") from None


def _unknown(what: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is no {what}{hint} Known: {', '.join(known)}"
