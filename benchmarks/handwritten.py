"""ttreg beside models written by hand in ttnn: calls, device programs, memory and host time, on a mocked chip.

Run `python benchmarks/handwritten.py` (`make bench`). A hand-written model makes a call for each op of its modules: it
fuses nothing across modules, prepares its weights once, keeps images as convolutions want them, and writes its cache in
place. Its outputs are held to PyTorch's on the emulated device, on which each of its calls is validated too. Each model
runs in a process of its own, and the two are timed in turn on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from _handwritten.bert import Bert
from _handwritten.gpt2 import Gpt2
from _handwritten.layers import Place
from _handwritten.llama import Llama
from _handwritten.resnet import ResNet
from _handwritten.vit import VisionTransformer
from _models import Counting, Program, decoding, dram_in_use, in_a_process, programs, unknown
from rich.table import Table

from ttreg.bench.timing import Way, interleaved, machine, median_ratio, pinned, spread, under
from ttreg.cli.shared import console
from ttreg.devices import import_ttnn, open_device
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

CALLS, HOST, DRAM = "ttnn calls ÷", "host time ÷", "peak DRAM ÷"
LIMITS = {CALLS: 1.25, HOST: 2.0, DRAM: 1.5}
TOKENS = 32
DTYPES = ("float32", "bfloat16")
PRECISION = {"float32": "preserve", "bfloat16": "bfloat16"}
# How near outputs are to PyTorch's in float32: the correlation, and the largest difference as a share of the largest
# output. The emulated device rounds in bfloat16 after each call, and computes as CPU does in float32.
NEAR = {"float32": (0.99999, 1e-4), "bfloat16": (0.999, 0.05)}


@dataclass(frozen=True)
class Pair:
    """A model of PyTorch's as a program, and how to write it by hand for a place; how many tokens it decodes."""

    program: Program
    write: Callable[[Place], Callable[..., list[torch.Tensor]]]
    tokens: int = 0


def bert(small: bool) -> Pair:
    """BERT-base over 128 tokens."""
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config, length = BertConfig(**sizes if small else {}), 40 if small else 128
    model = BertModel(config).eval()
    program = Program(lambda ids: list(model(ids, return_dict=False)), lambda: (torch.randint(0, 30000, (1, length)),))
    return Pair(program, lambda place: Bert(place, model, length))


def vit(small: bool) -> Pair:
    """ViT-B/16 over a picture of 224 × 224."""
    from torchvision.models import VisionTransformer as Plain

    sizes = (32, 16, 2, 2, 64, 128) if small else (224, 16, 12, 12, 768, 3072)
    model = Plain(*sizes, num_classes=10 if small else 1000).eval()
    torch.nn.init.normal_(model.heads.head.weight)  # which is made of zeros
    program = Program(lambda image: [model(image)], lambda: (torch.rand(1, 3, sizes[0], sizes[0]),))
    return Pair(program, lambda place: VisionTransformer(place, model))


def resnet(small: bool) -> Pair:
    """ResNet-50 over a picture of 224 × 224."""
    from torchvision.models.resnet import Bottleneck
    from torchvision.models.resnet import ResNet as Plain

    model = Plain(Bottleneck, [1, 1, 1, 1] if small else [3, 4, 6, 3]).eval()
    size = 64 if small else 224
    program = Program(lambda image: [model(image)], lambda: (torch.rand(1, 3, size, size),))
    return Pair(program, lambda place: ResNet(place, model))


def gpt2(small: bool) -> Pair:
    """Four layers of GPT-2's size, 32 tokens one by one."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 500, "n_embd": 64, "n_head": 2, "n_layer": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes if small else {"n_layer": 4})).eval()
    tokens = 5 if small else TOKENS
    return Pair(decoding(model, tokens), lambda place: Gpt2(place, model, TOKENS), tokens)


def llama(small: bool) -> Pair:
    """Two layers of a small Llama, 32 tokens one by one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if small:
        sizes = {"vocab_size": 500, "hidden_size": 128, "intermediate_size": 256}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    else:
        sizes = {"vocab_size": 8000, "hidden_size": 1024, "intermediate_size": 2816}
        heads = {"num_attention_heads": 16, "num_key_value_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **sizes, **heads)).eval()
    tokens = 5 if small else TOKENS
    return Pair(decoding(model, tokens), lambda place: Llama(place, model, TOKENS), tokens)


PAIRS: dict[str, Callable[[bool], Pair]] = {
    "BERT-base": bert,
    "ViT-B/16": vit,
    "ResNet-50": resnet,
    "GPT-2, 32 tokens": gpt2,
    "Llama, 32 tokens": llama,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="model", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", default=[], metavar="MODEL", help=f"of {'; '.join(PAIRS)}; all if none")
    parser.add_argument("--rounds", type=int, default=10, help="forwards, each way")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--small", action="store_true", help="the models with few and narrow layers")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one model, in this process
    options = parser.parse_args(arguments)
    names = options.models + options.only
    if wrong := unknown(names, PAIRS):
        parser.error(wrong)
    if options.here:
        print(json.dumps(measured(PAIRS[names[0]], options.rounds, options.small)))
        return
    passed = ["--rounds", str(options.rounds), *(["--small"] if options.small else [])]
    models = {name: in_a_process(__file__, name, *passed) for name in names or PAIRS}
    figures = {"rounds": options.rounds, "machine": machine(), "models": models, "median": medians(models)}
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


def medians(models: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each dtype, the medians of the models' ratios."""
    return {
        dtype: {
            ratio: statistics.median(model[dtype]["ratios"][ratio] for model in models.values()) for ratio in LIMITS
        }
        for dtype in DTYPES
    }


def measured(make: Callable[[bool], Pair], rounds: int, small: bool) -> dict[str, Any]:
    """The figures of one model in this process, in each dtype."""
    torch.set_num_threads(1)
    registry.load()
    with torch.no_grad():
        torch.manual_seed(0)
        pair = make(small)
        return {dtype: figures_of(pair, dtype, rounds) for dtype in DTYPES}


def figures_of(pair: Pair, dtype: str, rounds: int) -> dict[str, Any]:
    """What both ways take, and the ratios; the hand-written one's outputs are looked at first."""
    ttnn = import_ttnn()
    nearness = held_to_pytorch(pair, dtype, open_device(Settings(device="emulated", validate=True)))
    settings = Settings(device="mock", precision=PRECISION[dtype])
    chip: Any = open_device(settings)
    with counting(chip, ttnn) as counts:
        by_hand = pair.write(Place(chip, counts, dtype))
        found = {"hand-written": counted(pair, chip, counts, lambda inputs: by_hand(*inputs))}
        del by_hand
    with counting(chip, chip.tt) as counts:
        session = Session(settings, chip)
        found["ttreg"] = counted(pair, chip, counts, lambda inputs: run(pair, session, inputs))
        session.close()
    session, by_hand = Session(settings, chip), pair.write(Place(chip, ttnn, dtype))
    program = pair.program
    ways = {"ttreg": Way(program.forward, program.inputs, under(session)), "hand-written": Way(by_hand, program.inputs)}
    with pinned():
        taken = interleaved(ways, rounds)
    session.close()
    ttreg, other = found["ttreg"], found["hand-written"]
    return {
        **found,
        "milliseconds": {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()},
        "spread": {name: spread(seconds) for name, seconds in taken.items()},
        "tokens": pair.tokens,
        "ratios": {
            CALLS: ttreg["ttnn_calls"] / other["ttnn_calls"],
            HOST: median_ratio(taken["ttreg"], taken["hand-written"]),
            DRAM: ttreg["most_dram_bytes"] / other["most_dram_bytes"],
        },
        "nearness": nearness,
    }


@contextmanager
def counting(chip: Any, api: Any) -> Iterator[Counting]:
    """The api, counted, in the chip's place; what was kept of programs and counted of memory is as before any call."""
    chip.tt.device.clear_program_cache()
    own, counts = chip.tt, Counting(chip, api)
    before = dram_in_use(chip)
    counts.after_each = lambda: dram_in_use(chip) - before
    chip.tt = counts
    try:
        yield counts
    finally:
        chip.tt = own


def run(pair: Pair, session: Session, inputs: tuple[torch.Tensor, ...]) -> None:
    """A forward in the session."""
    with under(session)():
        pair.program.forward(*inputs)


def counted(pair: Pair, chip: Any, counts: Counting, forward: Callable[[tuple[torch.Tensor, ...]], object]) -> dict:
    """New programs of the first forwards, with what they prepare, and what the one after them does."""
    few = 0
    if pair.tokens:
        forward(pair.program.inputs()[:2])
        few = programs(chip)
    forward(pair.program.inputs())
    first = programs(chip)
    counts.calls.clear()
    counts.most = 0
    forward(pair.program.inputs())
    return {
        "ttnn_calls": counts.calls.total(),
        "calls": dict(counts.calls.most_common()),
        "first_programs": first,
        "later_programs": programs(chip) - first,
        "programs_per_token": (first - few) / (pair.tokens - 2) if pair.tokens else None,
        "most_dram_bytes": counts.most,
    }


def held_to_pytorch(pair: Pair, dtype: str, device: Any) -> dict[str, float]:
    """How near the hand-written model's outputs on an emulated device are to PyTorch's.

    Raises AssertionError if they are not near enough.
    """
    inputs = pair.program.inputs()
    by_hand = pair.write(Place(device, device.tt, dtype))(*inputs)
    correlation, difference = 1.0, 0.0
    for expected, found in zip(pair.program.outputs(*inputs), by_hand, strict=True):
        wanted, got = expected.flatten().double(), found.flatten().double()
        correlation = min(correlation, float(torch.corrcoef(torch.stack([wanted, got]))[0, 1]))
        difference = max(difference, float((wanted - got).abs().max() / wanted.abs().max()))
    least, most = NEAR[dtype]
    if not (correlation > least and difference < most):
        raise AssertionError(f"correlation {correlation}, largest difference {difference} of the largest output")
    return {"correlation": correlation, "difference": difference}


def show(figures: dict[str, Any]) -> None:
    """Print a table for each dtype."""
    for dtype in DTYPES:
        title = f"{dtype}: ttreg / hand-written; ms are medians of {figures['rounds']} forwards"
        table = Table("model", *headings(), title=title)
        for name, model in figures["models"].items():
            table.add_row(name, *cells(model[dtype]))
        middle = [f"{value:.2f}" for value in figures["median"][dtype].values()]
        table.add_row("median", *[""] * (len(headings()) - len(middle)), *middle)
        console().print(table)


def headings() -> list[str]:
    """What a table has for a model."""
    of_programs = ["programs at first", "each forward later", "each token"]
    return ["ttnn calls", *of_programs, "MiB of DRAM", "ms", *(f"{ratio} (≤ {most})" for ratio, most in LIMITS.items())]


def cells(found: dict[str, Any]) -> list[str]:
    """The same of one model in one dtype."""
    both = [found["ttreg"], found["hand-written"]]
    counts = [" / ".join(str(of[name]) for of in both) for name in ("ttnn_calls", "first_programs", "later_programs")]
    tokens = " / ".join(f"{of['programs_per_token']:.1f}" for of in both) if found["tokens"] else "–"
    memory = " / ".join(f"{of['most_dram_bytes'] / 2**20:.0f}" for of in both)
    times = " / ".join(f"{found['milliseconds'][way]:.1f}" for way in ("ttreg", "hand-written"))
    return [*counts, tokens, memory, times, *(f"{found['ratios'][ratio]:.2f}" for ratio in LIMITS)]


if __name__ == "__main__":
    main()
