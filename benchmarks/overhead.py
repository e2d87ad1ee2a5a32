"""What ttreg adds to a call: one op at a time, compared with ttnn itself and with the minimal cost of PyTorch's modes.

Run `python benchmarks/overhead.py` (`make bench`). Everything is measured in one process on one core, in turn, and a
ratio is the median of the ratios of samples taken in the same round. The chip is mocked: ttnn's host work is real,
there is no device time, and ttreg makes the same ttnn calls as the direct way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from rich.table import Table

from ttreg.bench.floor import EmptyMode, Outputs, Wrapped, WrapperMode
from ttreg.bench.plot import pyplot, save
from ttreg.bench.recording import recording
from ttreg.bench.timing import Way, interleaved, machine, median_ratio, pinned, spread, under
from ttreg.caches import cache_home
from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.devices.chip import Chip
from ttreg.meta import meta_of
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

SETTINGS = Settings(device="mock", min_upload_numel=0)
CALLS = 10  # in a sample
DOWNLOAD_ROUNDS = 100  # of one call, at most: a mocked chip can be read some 8000 times
ON_DEVICE = "ttreg ÷ (ttnn + wrapper)"
IN_ONE = "ttreg ÷ ttnn in the wrapper mode"
ON_HOST = "host op ÷ empty mode"
LIMITS = {ON_DEVICE: 1.25, IN_ONE: 1.25, ON_HOST: 1.3}

# What is timed, in the order of the columns.
PLAIN, EMPTY, WRAPPER, TTNN, TTREG = "plain torch", "empty mode", "wrapper mode", "ttnn", "ttreg"
HOST, HOST_DEVICE, DOWNLOADS = "host op", "host op, device inputs", "plain torch, downloads"
UNREAD = "ttreg, unread"
BOTH = "ttnn in the wrapper mode"
SYMBIOTE, SYMBIOTE_VERSION = "tt-symbiote", "0.1.6"


@dataclass(frozen=True)
class Case:
    """An op: the call, its tensors, and the parameters that follow them, which the host holds."""

    call: Callable[..., torch.Tensor]
    inputs: tuple[torch.Tensor, ...]
    parameters: tuple[torch.Tensor, ...] = ()
    is_view: bool = False


def cases() -> dict[str, Case]:
    """The ops, in the sizes of ttnn's own figures: 64 × 64, four tiles."""
    torch.manual_seed(0)
    x, y, image = torch.rand(64, 64), torch.rand(64, 64), torch.rand(1, 32, 16, 16)
    norm, convolution = torch.nn.LayerNorm(64), torch.nn.Conv2d(32, 32, 3, padding=1)
    assert convolution.bias is not None
    return {
        "add": Case(torch.add, (x, y)),
        "mul": Case(torch.mul, (x, y)),
        "relu": Case(torch.relu, (x,)),
        "matmul": Case(torch.matmul, (x, y)),
        "softmax": Case(lambda x: torch.softmax(x, 1), (x,)),
        "layer_norm": Case(lambda x, w, b: F.layer_norm(x, (64,), w, b), (x,), (norm.weight, norm.bias)),
        "permute": Case(lambda x: x.permute(1, 0), (x,), is_view=True),
        "view": Case(lambda x: x.view(64, 4, 16), (x,), is_view=True),
        "sum": Case(lambda x: torch.sum(x, 1), (x,)),
        "cat": Case(lambda x, y: torch.cat((x, y), 1), (x, y)),
        "conv2d": Case(lambda x, w, b: F.conv2d(x, w, b, padding=1), (image,), (convolution.weight, convolution.bias)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ops", nargs="*", help=f"of {', '.join(cases())}; all if none")
    parser.add_argument("--rounds", type=int, default=300, help=f"samples of {CALLS} calls, each way")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--plot", metavar="FILE", help="draw the microseconds into an SVG or PNG file")
    parser.add_argument("--no-symbiote", action="store_true", help="leave tt-symbiote out, which is to be installed")
    options = parser.parse_args(arguments)
    known = cases()
    if unknown := set(options.ops) - set(known):
        parser.error(f"no op is named {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    chosen = {name: known[name] for name in options.ops or known}
    figures = measure(chosen, options.rounds)
    if not options.no_symbiote:
        try:
            add_symbiote(figures)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            print(f"tt-symbiote is left out: {_last_line(error)}", file=sys.stderr)
    if options.plot:
        draw(figures, options.plot)
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


def measure(chosen: dict[str, Case], rounds: int) -> dict[str, Any]:
    """For each op: microseconds each way, their spread, the ratios that count, and how many ttnn calls there are."""
    torch.set_num_threads(1)
    registry.load()
    chip: Any = open_device(SETTINGS)
    with torch.no_grad(), pinned() as core:  # after the chip is opened: its own threads go where they like
        ops = {name: measured(chip, case, rounds) for name, case in chosen.items()}
    middle = {
        ratio: statistics.median(found) for ratio in LIMITS if (found := [op["ratios"][ratio] for op in ops.values()])
    }
    return {"rounds": rounds, "calls": CALLS, "core": core, "machine": machine(), "ops": ops, "median": middle}


def measured(chip: Chip, case: Case, rounds: int) -> dict[str, Any]:
    """The figures of one op."""
    session, on_host = Session(SETTINGS, chip), Session(SETTINGS, chip)
    values = [session.value(session.to_device(tensor)) for tensor in case.inputs]
    metas = [meta_of(tensor) for tensor in case.inputs]

    def on_device(of: Session) -> Callable[[], tuple]:
        # New tensors at each call, because a used one has cached views and host copies.
        return lambda: (*map(of.new_tensor, metas, values), *case.parameters)

    def in_ttnn(of: Session) -> Callable[..., object]:
        # A view is nothing but metadata until the device is asked for its value.
        return (lambda *given: of.value(case.call(*given))) if case.is_view else case.call

    with recording(chip) as recorder:
        recorded = Session(SETTINGS, chip)
        for _ in range(2):  # the first prepares weights
            with under(recorded)():
                in_ttnn(recorded)(*on_device(recorded)())
        with under(recorded)(), recorder.on():
            in_ttnn(recorded)(*on_device(recorded)())
    wrapping = WrapperMode()
    with Outputs(wrapping):
        case.call(*case.inputs, *case.parameters)
    wrapped = (*map(Wrapped.around, values, metas), *case.parameters)
    plain, replay = (*case.inputs, *case.parameters), recorder.replay()

    def both(*given: Any) -> None:
        # Together they take more than alone: the code of PyTorch and that of ttnn push each other out of the caches.
        case.call(*given)
        replay()

    ways = {
        PLAIN: Way(case.call, lambda: plain),
        EMPTY: Way(case.call, lambda: plain, EmptyMode),
        WRAPPER: Way(case.call, lambda: wrapped, lambda: wrapping),
        TTNN: Way(replay),
        BOTH: Way(both, lambda: wrapped, lambda: wrapping),
        TTREG: Way(in_ttnn(session), on_device(session), under(session)),
    }
    with left_to_the_host():  # the plans are kept
        for given in (plain, on_device(on_host)()):
            with under(on_host)():
                case.call(*given)
    ways[HOST] = Way(case.call, lambda: plain, under(on_host))
    reading = {
        HOST_DEVICE: Way(case.call, on_device(on_host), under(on_host)),
        DOWNLOADS: Way(lambda: case.call(*map(chip.download, values), *case.parameters)),
    }
    if case.is_view:  # it stays on the device
        ways[UNREAD], reading = Way(case.call, on_device(session), under(session)), {}
    taken = interleaved(ways, rounds, CALLS) | interleaved(reading, min(rounds, DOWNLOAD_ROUNDS))
    for used in (session, on_host, recorded):
        used.close()
    floor = [direct + wrapper for direct, wrapper in zip(taken[TTNN], taken[WRAPPER], strict=True)]
    ratios = {
        ON_DEVICE: median_ratio(taken[TTREG], floor),
        IN_ONE: median_ratio(taken[TTREG], taken[BOTH]),
        ON_HOST: median_ratio(taken[HOST], taken[EMPTY]),
    }
    return {
        "ttnn_calls": recorder.calls,
        "microseconds": {name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()},
        "spread": {name: spread(seconds) for name, seconds in taken.items()},
        "ratios": ratios,
    }


def add_symbiote(figures: dict[str, Any]) -> None:
    """Add what the ops cost on tt-symbiote's tensors, on the host: since 0.1 it sends no single op to ttnn.

    It is installed into an environment of its own in ttreg's cache, and given the torch and ttnn that are here: its own
    requirements are some gigabytes.
    """
    folder = cache_home() / f"tt-symbiote-{SYMBIOTE_VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        _run(sys.executable, "-m", "uv", "venv", "--clear", "--python", sys.executable, str(folder))
        wanted = f"tt-symbiote=={SYMBIOTE_VERSION}"
        _run(sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--python", str(python), wanted)
        (folder / "installed").touch()
    script, packages = Path(__file__).with_name("_tt_symbiote.py"), sysconfig.get_path("purelib")
    printed = _run(python, script, packages, figures["rounds"], figures["calls"], *figures["ops"])
    for name, microseconds in json.loads(printed.splitlines()[-1]).items():
        if microseconds is not None:
            figures["ops"][name]["microseconds"][SYMBIOTE] = microseconds


def _run(*command: object) -> str:
    environment = {"LOGURU_LEVEL": "ERROR", "TT_METAL_LOGGER_LEVEL": "OFF", **os.environ}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=True, timeout=600
    )
    return done.stdout


def _last_line(error: Exception) -> str:
    said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return said.splitlines()[-1] if said else str(error)


def left_to_the_host() -> AbstractContextManager[Any]:
    """Decide every op as if the registry did not have it."""
    return mock.patch.object(registry, "find", return_value=None)


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    names = list(dict.fromkeys(name for op in figures["ops"].values() for name in op["microseconds"]))
    title = f"µs a call, medians of {figures['rounds']} samples of {figures['calls']} calls"
    table = Table("op", *names, title=title)
    for name, op in figures["ops"].items():
        table.add_row(name, *(f"{op['microseconds'][n]:.1f}" if n in op["microseconds"] else "–" for n in names))
    ratios = Table("op", "ttnn calls", *(f"{ratio} (≤ {limit})" for ratio, limit in LIMITS.items()), title="ratios")
    for name, op in figures["ops"].items():
        ratios.add_row(name, str(op["ttnn_calls"]), *(f"{op['ratios'][ratio]:.2f}" for ratio in LIMITS))
    ratios.add_row("median", "", *(f"{figures['median'][ratio]:.2f}" for ratio in LIMITS))
    out = console()
    out.print(table)
    out.print(ratios)


def draw(figures: dict[str, Any], path: str) -> None:
    """Draw ttreg's time beside the floor that it stands on."""
    plt = pyplot()
    ops = figures["ops"]
    figure, axes = plt.subplots(figsize=(9, 4))
    places = range(len(ops))
    direct = [op["microseconds"][TTNN] for op in ops.values()]
    axes.bar([p - 0.2 for p in places], direct, 0.38, label="ttnn, called directly")
    axes.bar(
        [p - 0.2 for p in places],
        [op["microseconds"][WRAPPER] for op in ops.values()],
        0.38,
        bottom=direct,
        label="minimal wrapper mode",
    )
    axes.bar([p + 0.2 for p in places], [op["microseconds"][TTREG] for op in ops.values()], 0.38, label="ttreg")
    axes.set_xticks(list(places), list(ops))
    axes.set_ylabel("µs a call")
    axes.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
