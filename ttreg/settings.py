"""The keywords of `device_mode` and their possible values. The environment and pyproject.toml set the defaults."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from .caches import cache_home
from .errors import SettingsError
from .parsers import below, boolean, buckets, cache_folder, integer, one_of, output_file, output_folder, pcc

ARCHS = ("wormhole_b0", "blackhole")

# One tile. Measured with benchmarks/min_upload.py: up to 16,384 elements, two uploads and an `add` cost about 48 µs on
# ttnn's host side, and the host's own `add` costs 2 to 4 µs. So small host tensors stay on the host. The limit is no
# higher, because a network with a small first input would then run on the host as a whole.
DEFAULT_MIN_UPLOAD_NUMEL = 1024

# Rows. A full bucket costs a decoding Llama 9 programs, so that 32 rows mean 0.28 for each token, and 128 mean 0.07.
# Without room it needs 8 for each token. 128 rows of a head take 32 KiB in float32, which padding costs at most.
DEFAULT_BUCKETS = 128

# Bytes. Convolutions keep their halo tables in this part of a core's L1. 32 KiB is enough for a 3 × 3 convolution over
# 56 × 56 × 64; twice that leaves room. ttreg's own convolutions keep these tables in DRAM.
DEFAULT_L1_SMALL_SIZE = 65536

# Bytes. A model of 7 billion weights in bfloat8_b takes 8 GB.
DEFAULT_WEIGHT_CACHE_BYTES = 1 << 35


@dataclass(frozen=True)
class Settings:
    """The settings of a `device_mode`; the README explains each keyword."""

    device: str = "auto"
    device_id: int = 0
    arch: str = "wormhole_b0"
    validate: bool = False
    precision: str = "preserve"
    on_fallback: str = "allow"
    on_device_error: str = "raise"
    check: float | None = None
    numerics: str = "golden"
    float32: str = "fast"
    buckets: int | str = DEFAULT_BUCKETS
    attention: str = "auto"
    trace: str | None = None
    visualizer: str | None = None
    progress: bool = True
    weight_cache: str | None = None
    weight_cache_bytes: int = DEFAULT_WEIGHT_CACHE_BYTES
    min_upload_numel: int = DEFAULT_MIN_UPLOAD_NUMEL
    l1_small_size: int = DEFAULT_L1_SMALL_SIZE
    trace_region_size: int = 0

    def __post_init__(self) -> None:
        if self.device not in ("auto", "emulated"):
            self.require_kernels_of_its_own()
        if self.device == "mock" and self.check is not None:
            raise SettingsError(
                f"check is {self.check}; expected None with device='mock', which has no values to compare"
            )

    def require_kernels_of_its_own(self) -> None:
        """Raise SettingsError if the user chose kernels for the emulated device, and another device."""
        if self.numerics != "golden":
            raise SettingsError(
                f"numerics is {self.numerics!r}; expected 'golden' but for device='emulated', since a chip's kernels "
                "compute what they compute"
            )

    @property
    def attention_in_lowerings(self) -> str:
        """What `attention` comes to: who carries float32 in bfloat16 asks for speed."""
        return "fused" if self.attention == "auto" and self.precision == "bfloat16" else self.attention

    @classmethod
    def resolve(cls, keywords: Mapping[str, Any]) -> Settings:
        """The settings by keywords, else environment variables, else [tool.ttreg] of pyproject.toml, else defaults.

        Raises SettingsError for an unknown keyword, variable, key or value, listing the known ones.
        """
        return resolve_with_sources(keywords)[0]


def resolve_with_sources(keywords: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings, and the source of each: "keyword", a variable, a pyproject.toml, or "default"."""
    names = [f.name for f in fields(Settings)]
    for name in keywords:
        if name not in names:
            raise SettingsError(_unknown("keyword of device_mode", name, names))
    found: list[tuple[str, str, str, Any]] = []  # setting, its name in errors, source, value; the last wins
    project = pyproject()
    if project is not None:
        path, table = project
        for name, value in table.items():
            if name not in names:
                raise SettingsError(f"{path}: {_unknown('key of [tool.ttreg]', name, names)}")
            found.append((name, f"{name} in [tool.ttreg] of {path}", str(path), value))
    if "LOCAL_RANK" in os.environ:  # it holds for this process alone, so it beats the project's file
        found.append(("device_id", "LOCAL_RANK", "LOCAL_RANK", os.environ["LOCAL_RANK"]))
    for variable, text in os.environ.items():
        if variable.startswith("TTREG_") and variable not in _OTHER_VARIABLES:
            name = variable.removeprefix("TTREG_").lower()
            if name not in names:
                known = [f"TTREG_{n.upper()}" for n in names] + list(_OTHER_VARIABLES)
                raise SettingsError(_unknown("environment variable", variable, known))
            found.append((name, variable, variable, text))
    found += [(name, name, "keyword", value) for name, value in keywords.items()]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(names, "default")
    for name, called, source, value in found:
        values[name] = _parse(called, _PARSERS[name], value)
        sources[name] = source
    return Settings(**values), sources


@dataclass(frozen=True)
class Setting:
    """One setting: its value here, the source of the value, and the variable that sets it."""

    name: str
    value: str | int | float | bool | None
    source: str  # "default", the name of a variable, or the path of a pyproject.toml
    default: str | int | float | bool | None
    variable: str
    gives: str = ""  # what the value gives and costs, if that is not obvious


def listed() -> list[Setting]:
    """The settings that a `device_mode()` without keywords would have here, and those of the environment alone."""
    settings, sources = resolve_with_sources({})
    usual = Settings()
    found = [
        Setting(
            f.name,
            value := getattr(settings, f.name),
            sources[f.name],
            getattr(usual, f.name),
            f"TTREG_{f.name.upper()}",
            _GIVES.get((f.name, value), ""),
        )
        for f in fields(Settings)
    ]
    shared = "XDG_CACHE_HOME" if os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")) else "default"
    source = "TTREG_CACHE_DIR" if os.environ.get("TTREG_CACHE_DIR") else shared
    found.append(Setting("cache_dir", str(cache_home()), source, "~/.cache/ttreg", "TTREG_CACHE_DIR"))
    source = "TTREG_PLUGINS" if "TTREG_PLUGINS" in os.environ else "default"
    return [*found, Setting("plugins", plugins_enabled(), source, True, "TTREG_PLUGINS")]


def plugins_enabled() -> bool:
    """Whether the entries of other installed packages are loaded. Raises SettingsError for an unknown value."""
    return _parse("TTREG_PLUGINS", boolean, os.environ.get("TTREG_PLUGINS", True))


def pyproject() -> tuple[Path, dict[str, Any]] | None:
    """The nearest pyproject.toml with a table [tool.ttreg], from the working directory upwards, and that table.

    Raises SettingsError if such a file is not valid TOML.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder has been removed
        return None
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        try:
            table = _table(path, path.stat().st_mtime_ns)
        except OSError:  # it does not exist, or cannot be read
            continue
        if table is not None:
            return path, table
    return None


@lru_cache
def _table(path: Path, modified: int) -> dict[str, Any] | None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    content = path.read_bytes()
    if b"ttreg" not in content:  # another project's file, which need not be valid
        return None
    try:
        tools = tomllib.loads(content.decode()).get("tool", {})
    except ValueError as error:  # includes a wrong encoding
        raise SettingsError(f"{path} is no TOML: {error}") from None
    table = tools.get("ttreg") if isinstance(tools, dict) else None  # `tool = 3` has nothing for ttreg
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{path}: [tool.ttreg] is {_shown(table)}; expected a table")
    return table


_OTHER_VARIABLES = ("TTREG_CACHE_DIR", "TTREG_PLUGINS")

_GIVES = {
    ("float32", "fast"): "float32 products, softmax and norms to three digits on a chip, one ttnn call each",
    ("float32", "exact"): "float32 products, softmax and norms within 1e-5 on a chip, 4 to some 60 ttnn calls each",
    ("attention", "auto"): 'ttnn\'s fused kernel under precision="bfloat16", and for bfloat16 scores above 128 MiB',
    ("attention", "fused"): "ttnn's kernel wherever it takes a call of bfloat16: one ttnn call, 3 to 5 times the error",
    ("attention", "exact"): "attention composed of products and softmax: about 5 ttnn calls, and a matrix of scores",
}


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "device": one_of("auto", "ttnn", "emulated", "mock"),
    "device_id": below(31),
    "arch": one_of(*ARCHS),
    "validate": boolean,
    "precision": one_of("preserve", "bfloat16"),
    "on_fallback": one_of("allow", "warn", "raise"),
    "on_device_error": one_of("raise", "fallback"),
    "check": pcc,
    "numerics": one_of("golden", "chip"),
    "float32": one_of("fast", "exact"),
    "buckets": buckets,
    "attention": one_of("auto", "fused", "exact"),
    "trace": output_file,
    "visualizer": output_folder,
    "progress": boolean,
    "weight_cache": cache_folder,
    "weight_cache_bytes": integer,
    "min_upload_numel": integer,
    "l1_small_size": below(63),
    "trace_region_size": below(63),
}


def _parse(name: str, parser: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parser(value)
    except ValueError as expected:
        raise SettingsError(f"{name} is {_shown(value)}; expected {expected}") from None


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a very large number"


def _unknown(what: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is no {what}{hint} Known: {', '.join(known)}"
