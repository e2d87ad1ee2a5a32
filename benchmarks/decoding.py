"""How many new device programs each token costs when a model of transformers generates text with its default cache.

Run `python benchmarks/decoding.py`. A program is compiled on a chip, once for each form of a ttnn call: a call whose
shapes grow with the text needs another one at each token. `model.generate` is run as users run it, with `DynamicCache`,
on a mocked chip and on the emulated device with `validate=True`, each in a process of its own. A mocked chip has no
values: there, the likeliest token is read at each step, and the next one is that of plain CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from _models import Counting, in_a_process, programs, unknown
from rich.table import Table

from ttreg.bench.timing import under
from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

PROMPT = 8
WAYS = {"mocked chip": Settings(device="mock"), "validate=True": Settings(device="emulated", validate=True)}


def llama() -> Any:
    """Two layers of a Llama, whose 8 heads share 4 heads of keys and values."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    sizes = {"vocab_size": 2000, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads))


def gpt2() -> Any:
    """Two layers of a GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=2000, n_embd=256, n_head=8, n_layer=2))


MODELS: dict[str, Callable[[], Any]] = {"Llama": llama, "GPT-2": gpt2}
CASES = [f"{model}, {way}" for model in MODELS for way in WAYS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count each case in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {'; '.join(CASES)}; all if none")
    parser.add_argument(
        "--tokens", type=int, default=64, help="how many to generate one by one, after the prompt's own"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one case, in this process
    options = parser.parse_args(arguments)
    if wrong := unknown(options.cases, CASES):
        parser.error(wrong)
    if options.here:
        model, way = options.cases[0].split(", ")
        print(json.dumps(counted(model, way, options.tokens)))
        return
    found = {name: in_a_process(__file__, name, "--tokens", str(options.tokens)) for name in options.cases or CASES}
    if options.json:
        print(json.dumps({"tokens": options.tokens, "cases": found}))
        return
    title = f"new device programs while {options.tokens} tokens are generated one by one"
    columns = (
        "prompt",
        "first token",
        "each token after it, mean",
        "most",
        "all of it again",
        "those after it, by call",
    )
    table = Table("model, device", *columns, title=title)
    for name, case in found.items():
        counts = [
            case["prompt"],
            case["first_token"],
            f"{case['per_token']:.2f}",
            max(case["steps"][1:]),
            case["again"],
        ]
        by_call = ", ".join(f"{call} {count}" for call, count in case["calls"].items())
        table.add_row(name, *map(str, counts), by_call)
    console().print(table)


def counted(name: str, way: str, tokens: int) -> dict[str, Any]:
    """New programs of the prompt, of each token, of generating the same again, and of each ttnn function."""
    registry.load()
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    model.generation_config.eos_token_id = None
    prompt = torch.randint(0, model.config.vocab_size, (1, PROMPT))
    expected = generate(model, prompt, tokens)
    device: Any = open_device(WAYS[way])
    before = programs(device)
    own, api, seen = device.tt, Counting(device), list[int]()
    device.tt = api
    session = Session(WAYS[way], device)
    given = expected if device.name == "mock" else None

    def note(*_: Any) -> None:
        seen.append(programs(device))
        if len(seen) == 3:
            api.programs.clear()  # those of the prompt and of the first token

    try:
        with under(session)():
            found = generate(model, prompt, tokens, note, given)
            note()
            by_call = +api.programs
            generate(model, prompt, tokens, given=given)
    finally:
        device.tt = own
    if not torch.equal(found, expected):
        raise AssertionError(f"the device has generated {found.tolist()}, and CPU {expected.tolist()}")
    again = programs(device) - seen[-1]
    session.close()
    steps = [later - earlier for earlier, later in pairwise(seen[1:])]
    return {
        "prompt": seen[1] - before,
        "first_token": steps[0],
        "per_token": statistics.mean(steps[1:]),
        "steps": steps,
        "again": again,
        "calls": dict(by_call.most_common()),
    }


def generate(
    model: Any,
    prompt: torch.Tensor,
    tokens: int,
    before_each: Callable[..., None] = lambda *_: None,
    given: torch.Tensor | None = None,
) -> torch.Tensor:
    """The prompt and what the model has added to it, greedily; the tokens are those given, if they are."""
    from transformers import LogitsProcessor, LogitsProcessorList

    class Given(LogitsProcessor):
        """Reads the likeliest token, and says that the given one is."""

        def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            int(scores[0].argmax())
            assert given is not None
            # As integers, whose largest the host finds.
            return torch.nn.functional.one_hot(given[:, ids.shape[1]], scores.shape[1])

    processors = LogitsProcessorList([] if given is None else [Given()])
    hook = model.register_forward_pre_hook(before_each)
    try:
        return model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens + 1,  # the prompt itself gives the first
            do_sample=False,
            pad_token_id=0,
            logits_processor=processors,
        )
    finally:
        hook.remove()


if __name__ == "__main__":
    main()
