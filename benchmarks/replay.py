"""What a replay of a recorded function costs: beside the bare ttnn calls, and beside the same function op by op.

Run `python benchmarks/replay.py`. On a mocked chip, a function is called recorded, as it is, and as the ttnn calls of
its second run alone, in turn on one core. On the emulated device it is called recorded and as it is. Weights are
random; each program runs in a process of its own. Times are those that the thread was on the processor: other programs
of the machine do not count.

The ttnn calls begin with the upload of the arguments and end with the download of the results, as a replay does.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import thread_time
from typing import Any

import torch
from _models import PROGRAMS, in_a_process, unknown
from rich.table import Table

from ttreg.bench.recording import recording
from ttreg.bench.timing import Way, interleaved, machine, median_ratio, pinned, spread, under
from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

REPLAY, EAGER, EMULATED = "replay ÷ its ttnn calls", "op by op ÷ replay", "emulated replay ÷ op by op"
RATIOS = (REPLAY, EAGER, EMULATED)
TOKENS = 32
ON_CHIP = Settings(device="mock")


@dataclass(frozen=True)
class Case:
    """A function to record, the arguments of a call, made anew each time, and what the program does with the result."""

    function: Callable[..., Any]
    inputs: Callable[[], tuple[Any, ...]]
    use: Callable[[Any], object]
    gradients: bool = False
    calls: int = 1  # in a row, which a sample takes together
    begin: Callable[[], object] = lambda: None  # before a row


def forward(name: str) -> Case:
    """The forward of a model, whose outputs are read."""
    program = PROGRAMS[name]()
    return Case(program.outputs, program.inputs, lambda outputs: [output.numpy() for output in outputs])


def decoding() -> Case:
    """GPT-2's size of layers, four of them, with a static cache; each step gives the likeliest token, which is read."""
    from transformers import GPT2Config, GPT2LMHeadModel, StaticCache

    model = GPT2LMHeadModel(GPT2Config(n_layer=4)).eval()
    cache = StaticCache(config=model.config, max_cache_len=TOKENS)

    def decode(token: torch.Tensor) -> torch.Tensor:
        return model(token, past_key_values=cache, use_cache=True).logits[0, -1].argmax()

    return Case(decode, lambda: (torch.randint(0, 50000, (1, 1)),), int, calls=TOKENS, begin=cache.reset)


def training() -> Case:
    """A step of a small Transformer: forward, backward, and SGD with momentum; the loss is read."""
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    model = torch.nn.Sequential(torch.nn.TransformerEncoder(layer, 2), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), target.flatten())
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Case(step, lambda: (torch.rand(4, 16, 64), torch.randint(0, 10, (4, 16))), torch.Tensor.item, gradients=True)


NETWORKS = ("ResNet-18", "ResNet-50", "MobileNetV2", "ViT-B/16", "BERT-base")
LIMITS = dict.fromkeys(NETWORKS, 1.15) | {"GPT, 32 tokens": 1.4, "training step": 1.4}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each program in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", help=f"of {', '.join(LIMITS)}; all if none")
    parser.add_argument("--rounds", type=int, default=10, help="samples of each way")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one program, in this process
    options = parser.parse_args(arguments)
    if wrong := unknown(options.programs, LIMITS):
        parser.error(wrong)
    if options.here:
        torch.manual_seed(0)
        print(json.dumps(measured(options.programs[0], options.rounds)))
        return
    programs = {
        name: in_a_process(__file__, name, "--rounds", str(options.rounds)) for name in options.programs or LIMITS
    }
    middle = {ratio: statistics.median(found["ratios"][ratio] for found in programs.values()) for ratio in RATIOS}
    figures = {"rounds": options.rounds, "machine": machine(), "programs": programs, "median": middle}
    print(json.dumps(figures)) if options.json else show(figures)


def made(name: str) -> Case:
    """The program of that name."""
    return {"GPT, 32 tokens": decoding, "training step": training}.get(name, lambda: forward(name))()


def measured(name: str, rounds: int) -> dict[str, Any]:
    """The figures of one program in this process."""
    torch.set_num_threads(1)
    registry.load()
    chip = open_device(ON_CHIP)
    case = made(name)
    with nullcontext() if case.gradients else torch.no_grad(), pinned():
        on_chip, counts, calls = chip_ways(case, chip)
        taken = interleaved(on_chip, rounds, clock=thread_time)
        emulated = Session(settings := Settings(device="emulated"), open_device(settings))
        both, _ = session_ways(made(name), emulated)
        emulated_ways = interleaved(both, max(2, rounds // 3), clock=thread_time)
        taken |= {f"emulated {way}": seconds for way, seconds in emulated_ways.items()}
    return {
        "ttnn_calls": calls,
        "replays": counts.replays,
        "reasons": {**counts.refusals, **counts.misses, **counts.eager_calls},
        "milliseconds": {way: statistics.median(seconds) * 1e3 / case.calls for way, seconds in taken.items()},
        "spread": {way: spread(seconds) for way, seconds in taken.items()},
        "ratios": {
            REPLAY: median_ratio(taken["replay"], taken["ttnn calls"]),
            EAGER: median_ratio(taken["op by op"], taken["replay"]),
            EMULATED: median_ratio(taken["emulated replay"], taken["emulated op by op"]),
        },
    }


def session_ways(case: Case, session: Session) -> tuple[dict[str, Way], Any]:
    """The function op by op and recorded, in one session, with both warm; and the counts of the recorded one."""
    step = session.record(case.function)

    def way(function: Callable[..., Any]) -> Way:
        def run(*calls: tuple[Any, ...]) -> None:
            case.begin()
            for inputs in calls:
                case.use(function(*inputs))

        return Way(run, lambda: tuple(case.inputs() for _ in range(case.calls)), under(session))

    ways = {"op by op": way(case.function), "replay": way(step)}
    for _ in range(4):  # weights are prepared, the function is recorded, and its replay is compared
        ways["replay"].sample(1)
    return ways, step.counts


def chip_ways(case: Case, chip: Any) -> tuple[dict[str, Way], Any, int]:
    """As `session_ways`, with the ttnn calls that the function makes op by op, and how many these are in a call."""
    with recording(chip) as recorder:
        alone, _ = session_ways(case, Session(ON_CHIP, chip))
        alone["op by op"].sample(1)
        with recorder.on():
            alone["op by op"].sample(1)
    ways, counts = session_ways(case, Session(ON_CHIP, chip))
    return ways | {"ttnn calls": Way(recorder.replay())}, counts, recorder.calls // case.calls


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    programs = figures["programs"]
    names = next(iter(programs.values()))["milliseconds"]
    title = f"ms of processor time a call, medians of {figures['rounds']}"
    table = Table("program", "ttnn calls", *names, *RATIOS, title=title)
    for name, found in programs.items():
        times = [f"{found['milliseconds'][way]:.1f}" for way in names]
        ratios = [f"{found['ratios'][ratio]:.2f}" for ratio in RATIOS]
        table.add_row(name, str(found["ttnn_calls"]), *times, f"{ratios[0]} (≤ {LIMITS[name]})", *ratios[1:])
    table.add_row("median", "", *("" for _ in names), *(f"{figures['median'][ratio]:.2f}" for ratio in RATIOS))
    console().print(table)
    for name, found in programs.items():
        for reason, count in found["reasons"].items():
            console().print(f"{name}: {count} × {reason}")


if __name__ == "__main__":
    main()
