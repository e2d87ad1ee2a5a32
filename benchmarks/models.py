"""Whole models: the host time of a forward on a mocked chip, and the emulated device's speed against plain CPU.

Run `python benchmarks/models.py` (`make bench`). Host time is compared with a replay of the same ttnn calls without
ttreg. Emulated time is compared with plain PyTorch; both work in float32. Weights are random, except for MTCNN. Each
model runs in a process of its own, and the ways are timed in turn on one core.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from _models import PROGRAMS, Program, dram_in_use, in_a_process, unknown
from rich.table import Table

from ttreg.bench.floor import Wrapped
from ttreg.bench.plot import pyplot, save
from ttreg.bench.recording import recording
from ttreg.bench.rehearsal import Performance, Rehearsal
from ttreg.bench.timing import Way, interleaved, machine, median_ratio, pinned, spread, under
from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.meta import meta_of
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

HOST, EMULATED = "forward ÷ its ttnn calls", "emulated ÷ plain CPU"
FLOOR = "forward ÷ (ttnn calls + wrapper mode)"
LIMITS = {HOST: 1.3, EMULATED: 2.0}
RATIOS = (HOST, FLOOR, EMULATED)
ON_CHIP = Settings(device="mock")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(PROGRAMS)}; all if none")
    parser.add_argument("--rounds", type=int, default=10, help="forwards, each way")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios into an SVG or PNG file")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one model, in this process
    options = parser.parse_args(arguments)
    if wrong := unknown(options.models, PROGRAMS):
        parser.error(wrong)
    if options.here:
        torch.manual_seed(0)
        print(json.dumps(measured(PROGRAMS[options.models[0]](), options.rounds)))
        return
    models = {
        name: in_a_process(__file__, name, "--rounds", str(options.rounds)) for name in options.models or PROGRAMS
    }
    middle = {ratio: statistics.median(found["ratios"][ratio] for found in models.values()) for ratio in RATIOS}
    figures = {"rounds": options.rounds, "machine": machine(), "models": models, "median": middle}
    if options.plot:
        draw(figures, options.plot)
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


def measured(program: Program, rounds: int) -> dict[str, Any]:
    """The figures of one model in this process."""
    torch.set_num_threads(1)
    registry.load()
    chip = open_device(ON_CHIP)
    with torch.no_grad(), pinned():  # after the chip is opened: its own threads go where they like
        return taken_in_turn(program, rounds, chip)


def taken_in_turn(program: Program, rounds: int, chip: Any) -> dict[str, Any]:
    """Milliseconds each way, ratios, what the second forward moved, and memory."""
    before, most = dram_in_use(chip), 0

    def note_memory() -> None:
        nonlocal most
        most = max(most, dram_in_use(chip) - before)

    with recording(chip) as recorder:
        recorded = Session(ON_CHIP, chip)
        program.run(recorded)  # prepares weights
        recorder.after_each = note_memory
        with recorder.on():
            program.run(recorded)
    session = Session(ON_CHIP, chip)
    first, second = program.run(session), program.run(session)
    rehearsal = Rehearsal()
    inputs = program.inputs()
    with rehearsal:
        program.outputs(*inputs)
    ways = {"mocked chip": Way(program.forward, program.inputs, under(session)), "ttnn calls": Way(recorder.replay())}
    ways["wrapper mode"] = Way(program.outputs, wrapped(program), lambda: Performance(rehearsal))
    taken = interleaved(ways, rounds)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    recorded.close()
    session.close()
    emulated = Settings(device="emulated")
    device = Session(emulated, open_device(emulated))
    program.run(device)
    plain = Way(program.forward, program.inputs)
    taken |= interleaved({"plain CPU": plain, "emulated": Way(program.forward, program.inputs, under(device))}, rounds)
    device.close()
    floor = [calls + python for calls, python in zip(taken["ttnn calls"], taken["wrapper mode"], strict=True)]
    return {
        "ttnn_calls": recorder.calls,
        "milliseconds": {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()},
        "spread": {name: spread(seconds) for name, seconds in taken.items()},
        "ratios": {
            HOST: median_ratio(taken["mocked chip"], taken["ttnn calls"]),
            FLOOR: median_ratio(taken["mocked chip"], floor),
            EMULATED: median_ratio(taken["emulated"], taken["plain CPU"]),
        },
        "inputs": len(program.inputs()),
        "outputs_read": program.reads,
        "first_forward": first.transfers.model_dump(),
        "second_forward": less(second.transfers.model_dump(), first.transfers.model_dump()),
        "calls_of_a_forward": less(second.totals.model_dump(), first.totals.model_dump()),
        "most_dram_bytes": most,
        "most_resident_bytes": resident,
    }


def wrapped(program: Program) -> Callable[[], tuple]:
    """The program's inputs as minimal wrappers."""
    return lambda: tuple(Wrapped.around(None, meta_of(tensor)) for tensor in program.inputs())


def less(later: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The difference of each number."""
    return {name: value - earlier[name] for name, value in later.items()}


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    models, out = figures["models"], console()
    names = next(iter(models.values()))["milliseconds"]
    title = f"ms a forward, medians of {figures['rounds']}"
    times = Table("model", *names, *(f"{r} (≤ {LIMITS[r]})" if r in LIMITS else r for r in RATIOS), title=title)
    for name, model in models.items():
        milliseconds = [f"{model['milliseconds'][n]:.1f}" for n in names]
        times.add_row(name, *milliseconds, *(f"{model['ratios'][ratio]:.2f}" for ratio in RATIOS))
    times.add_row("median", *("" for _ in names), *(f"{figures['median'][ratio]:.2f}" for ratio in RATIOS))
    out.print(times)
    headings = ("ttnn calls", "uploads (inputs)", "weights", "downloads (read)", "KiB up", "KiB down")
    moved = Table("model", *headings, "MiB of DRAM", "MiB resident", title="the second forward, and the most memory")
    for name, model in models.items():
        second = model["second_forward"]
        moved.add_row(
            name,
            str(model["ttnn_calls"]),
            f"{second['uploads']} ({model['inputs']})",
            str(second["weight_uploads"]),
            f"{second['downloads']} ({model['outputs_read']})",
            f"{second['upload_bytes'] / 1024:.1f}",
            f"{second['download_bytes'] / 1024:.1f}",
            f"{model['most_dram_bytes'] / 2**20:.0f}",
            f"{model['most_resident_bytes'] / 2**20:.0f}",
        )
    out.print(moved)


def draw(figures: dict[str, Any], path: str) -> None:
    """Draw the ratios of each model."""
    plt = pyplot()
    models = figures["models"]
    figure, axes = plt.subplots(figsize=(9, 4))
    for shift, ratio in zip((-0.2, 0.2), LIMITS, strict=True):
        places = [place + shift for place in range(len(models))]
        axes.bar(places, [model["ratios"][ratio] for model in models.values()], 0.38, label=ratio)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(models)), list(models), rotation=15)
    axes.set_ylabel("ratio")
    axes.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
