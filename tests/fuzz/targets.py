"""What of ttreg reads text that others write, as functions that raise TtregErrors and nothing else."""

from __future__ import annotations

import io
import json
import os
import random
import shlex
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import click
import torch
import typer.main

import ttreg
from ttreg import cli
from ttreg.caches import cache_home
from ttreg.conditions import FLOATS, AtMost, Is, Never
from ttreg.coverage.measure import cover_calls
from ttreg.coverage.variations import read as read_calls
from ttreg.explain.lookup import find_op
from ttreg.explain.why import Oracle
from ttreg.notation import read, write_call
from ttreg.plugins import GROUP, load_plugin
from ttreg.registry import registry
from ttreg.report import read_report
from ttreg.reporting.difference import difference
from ttreg.reporting.timeline import NoTimelineError, timeline
from ttreg.samples import Sample, rand
from ttreg.settings import Settings, listed, plugins_enabled
from ttreg.specs import Tensor
from ttreg.verification import values_file

from .engine import Target

FOLDER = Path(tempfile.mkdtemp(prefix="ttreg-fuzz-"))
_LIBRARY = torch.library.Library("ttreg_fuzz", "DEF")
_LIBRARY.define("stretch(Tensor self, float factor=2., *, Tensor? bias=None) -> Tensor")
_COMMAND = typer.main.get_command(cli.app)


def written(text: str, name: str = "input") -> Path:
    """A file with this text."""
    path = FOLDER / name
    path.write_bytes(text.encode("utf-8", "surrogateescape" if text.isascii() else "surrogatepass"))
    return path


def sample_report() -> str:
    """A report as a session writes it."""
    with ttreg.device_mode(device="emulated", min_upload_numel=0, trace=str(FOLDER / "trace.json")) as session:
        torch.nn.Linear(8, 8)(torch.rand(4, 8)).double().sum()
    return session.report().model_dump_json()


REPORT = sample_report()
TRACE = (FOLDER / "trace.json").read_text()
BASE = read_report(written(REPORT, "base.json"))


def notation(text: str) -> None:
    """The arguments of `ttreg why`; what is written of them can be read again."""
    args, keywords = read(text)
    again = write_call({**{f"a{n}": value for n, value in enumerate(args)}, **keywords})
    if keywords.keys().isdisjoint(f"a{n}" for n in range(len(args))) and "nan" not in again and "(" not in text:
        read(again.replace("device=", "d="))


def why(text: str) -> None:
    """`ttreg why OP --args ARGS`."""
    op, _, args = text.partition(" ")
    found = find_op(op)
    Oracle(Settings()).ask(found, *read(args))


def report(text: str) -> None:
    """`ttreg report FILE`, and beside another."""
    found = read_report(written(text))
    str(found)
    str(difference(BASE, found))


def trace(text: str) -> None:
    """The trace of a report, for its page."""
    path = written(text, "trace-input.json")
    part = BASE.trace
    assert part is not None
    with suppress(NoTimelineError):
        timeline(BASE.model_copy(update={"trace": part.model_copy(update={"file": str(path)})}))


def environment(text: str) -> None:
    """Lines of NAME=value as the environment."""
    pairs = (line.partition("=") for line in text.replace("\0", "").split("\n"))
    with mock.patch.object(os, "environ", {name: value for name, _, value in pairs if name}):
        listed()
        plugins_enabled()
        cache_home()


def keywords(text: str) -> None:
    """A JSON object as the keywords of `device_mode`."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(given, dict):
        Settings.resolve(given)


def pyproject(text: str) -> None:
    """A pyproject.toml."""
    written(text, "pyproject.toml")
    before = os.getcwd()
    os.chdir(FOLDER)
    try:
        Settings.resolve({})
    finally:
        os.chdir(before)


def calls(text: str) -> None:
    """`ttreg coverage calls.jsonl`."""
    found = list(read_calls(written(text)))
    cover_calls("calls.jsonl", found[:3], Settings())


def values(text: str) -> None:
    """The file of `ttreg verify --values --out`."""
    values_file.read(written(text))


def entry(text: str) -> None:
    """An entry with arguments of the wrong kinds; those that are right are taken away again."""
    chance = random.Random(repr(text))

    def one(*right: Any) -> Any:
        return chance.choice(right if chance.random() < 0.9 else NONSENSE)

    op = one(torch.ops.ttreg_fuzz.stretch.default)
    given = {name: one(*kinds) for name, kinds in ENTRY.items() if chance.random() < 0.9}
    given.setdefault("samples", list)
    before = dict(registry._entries)
    try:
        kind = chance.randrange(4)
        if kind < 2:
            ttreg.lower(op, **given)(one(_lowering))
        elif kind == 2:
            ttreg.cpu_only(op, because=one("", "so"), samples=given["samples"])
        else:
            ttreg.decomposed(op, because=one("so"), samples=given["samples"], into=one(None, _lowering))
    finally:
        registry._entries = before


def _lowering(tt: Any, self: Any, factor: Any, bias: Any) -> Any:
    return tt.multiply(self, factor)


NONSENSE: tuple[Any, ...] = (
    None,
    5,
    -1.5,
    "",
    "self",
    b"x",
    (),
    [],
    {},
    object(),
    int,
    len,
    print,
    {"self": 5},
    [None],
)
NONSENSE += ({5: FLOATS}, {"no": FLOATS}, ("self",), [5], torch.float32, (torch.float32, 5), lambda: None)
ENTRY: dict[str, tuple[Any, ...]] = {
    "samples": (list, lambda: [Sample(rand(2))]),
    "takes": (FLOATS, {"self": FLOATS, "bias": Tensor(FLOATS)}, Tensor(FLOATS)),
    "when": ([Never()], [Is("factor", 2.0)], (AtMost("factor", 3),), [AtMost("no", 3)]),
    "outputs": (None, lambda call, metas: metas),
    "chip": ("", "as it is"),
    "in_room": (None,),
    "number": (None,),
    "apart": (None,),
    "steps": (None,),
}


def plugin(text: str) -> None:
    """What an installed package names as the module of its entries, which there is not."""
    load_plugin(EntryPoint("fuzz", f"ttreg_fuzz_{text}", GROUP))


def command(text: str) -> None:
    """A command line of those commands that only read; errors are for people, and have exit code 2."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    if not words or words[0] not in ("why", "list", "show", "config", "report") or "--html" in text:
        return
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            _COMMAND.main(words, prog_name="ttreg", standalone_mode=True)
        except SystemExit as left:
            if left.code not in (None, 0, 1, 2):
                raise AssertionError(f"exit code {left.code}: {said.getvalue()}") from left
        except click.ClickException as error:
            raise AssertionError(str(error)) from error


def _calls() -> str:
    matrix = {"shape": [2, 3], "dtype": "float32"}
    lines: list[Any] = [
        {"op": "aten.relu.default", "args": {"self": matrix}},
        {"op": "aten.sum.dim_IntList", "args": {"self": matrix, "dim": [1], "dtype": {"dtype": "float32"}}},
        {"op": "aten.cat.default", "args": {"tensors": [matrix, matrix], "dim": 0}},
        {"op": "aten.clamp.default", "args": {"self": matrix, "min": {"float": "-inf"}, "max": 3}},
    ]
    return "\n".join(map(json.dumps, lines))


def _values() -> str:
    run = values_file.Run.of_here({}).model_dump_json()
    verdict = {"op": "aten.relu.default", "family": "f", "arch": "wormhole_b0", "sample": 0, "accepted": True}
    verdict["values"] = {"status": "ok", "call": "self=f32[2]", "dtype": "float32", "outputs": []}
    return f"{run}\n{json.dumps(verdict)}\n"


DTYPES = ("f32", "bf16", "float32", "i64", "bool", "u8", "c64", "f99", "torch.float32", "float8_e4m3fn", "qint8")
ARGUMENTS: tuple[str, ...] = (
    *DTYPES,
    "[2, 3]",
    "[]",
    "(1, 2)",
    "(channels_last)",
    ", offset=1",
    "dim=",
    "None",
    "True",
    "'none'",
    "inf",
)
ARGUMENTS += (
    "nan",
    "1+2j",
    "1e308",
    "**",
    "*",
    "lambda: 1",
    "f''",
    "cpu",
    "meta",
    "...",
    "dtype=",
    "from=",
    "(offset=3)",
)
CALLS = (
    "conv2d f32[1, 64, 56, 56], f32[64, 64, 3, 3], padding=[1, 1]",
    "relu f32[2, 3](1, 2)",
    "aten.add.Tensor f32[2, 3], bf16[3], alpha=2",
    "softmax.int f32[1, 3, 8, 8](channels_last), -1, dtype=float32",
    "cat [f32[2, 3], f32[2, 3]], dim=1",
    "aten::index.Tensor f32[8, 8], [None, i64[3]]",
    "uniform f32[], from=0, to=1.5",
    "full [2, 3], 5",
)
OPS = ("aten.", "aten::", "torch.ops.", "torchvision.nms", ".default", ".out", "mm", "_", "prim", "view", "einsum")
SETTINGS = tuple(Settings.__dataclass_fields__)
VALUES = ("auto", "mock", "off", "true", "0.99", "raise", "blackhole", "exact", "fused", "chip", "none", "t.json", "-5")
VARIABLES = (*(f"TTREG_{name.upper()}" for name in SETTINGS), "LOCAL_RANK", "XDG_CACHE_HOME", "TTREG_CACHE_DIR")
JSON = ("null", "true", "[]", "{}", '""', ":", ",", '"x"', "-0.0", '"shape"', '"dtype"', '"op"', '"args"', '"float"')

COMMANDS = [f"why {shlex.quote(op)} --args {shlex.quote(args)}" for op, _, args in (c.partition(" ") for c in CALLS)]
COMMANDS += ["list relu --json", "show mm", "config", f"report {FOLDER / 'base.json'}"]
TENSOR = '{"shape": [2, 3], "dtype": "float32"}'

TARGETS = (
    Target("arguments of `ttreg why`", notation, [text.partition(" ")[2] for text in CALLS], ARGUMENTS, 40),
    Target("calls of `ttreg why`", why, CALLS, (*ARGUMENTS, *OPS), 4),
    Target("reports", report, [REPORT, "{}", "[]"], (*JSON, *(f'"{name}"' for name in BASE.model_dump())), 12),
    Target("traces", trace, [TRACE, "[\n"], (*JSON, '"ph"', '"X"', '"pid"', '"ts"', '"dur"', '"tid"'), 8),
    Target(
        "environment variables",
        environment,
        ["TTREG_DEVICE=mock\nLOCAL_RANK=1", "HOME=/\nTTREG_CHECK=0.9"],
        (*VARIABLES, *VALUES, "TTREG_PLUGINS", "=", "~", "HOME="),
        32,
    ),
    Target(
        "keywords",
        keywords,
        ['{"device": "mock", "check": null}', '{"buckets": 64, "trace": "t"}'],
        (*JSON, *(f'"{word}"' for word in SETTINGS + VALUES)),
        24,
    ),
    Target(
        "pyproject.toml",
        pyproject,
        ["[tool.ttreg]\ncheck = 0.9\n", '[tool]\nttreg = {device = "mock"}\n'],
        (*SETTINGS, *VALUES, "[tool.ttreg]", "tool.ttreg", " = ", "1979-05-27", "inf", '"""'),
        24,
    ),
    Target("files of calls", calls, [_calls(), "\n\n"], (*JSON, *OPS, *DTYPES, TENSOR), 8),
    Target("files of values", values, [_values(), _values()[:-1]], JSON, 24),
    Target("entries", entry, ["a", "b"], (), 8),
    Target("entry points", plugin, ["", ":x", ".y [z]"], (":", ".", "[", "]", " ", ":x.y"), 4),
    Target(
        "command lines",
        command,
        COMMANDS,
        (*ARGUMENTS, *OPS, "--json", "--args", "list", "show", "*", "?", "[!", "--worse-than", "--", "--help"),
        1,
    ),
)
