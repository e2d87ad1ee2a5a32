"""Errors of whole programs on a chip: the predictions of `numerics="chip"`, compared with measurements.

Run `python benchmarks/numerics.py` (`make numerics`). The programs were measured on the vendor's functional simulator
of Wormhole. There the matrix unit cut the weights. Today they are rounded on upload, which makes errors smaller, so
that is switched off here, except in the rows of programs that were measured with rounded weights as well. An error is
the norm of the difference from CPU in float32, over the norm of CPU's result.

Which weights and inputs the measured programs had is not known. Their errors depend on that as much on a chip as on
the CPU in bfloat16, so each program that makes its own is tried with several seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, mean
from typing import Any

import torch
from rich.table import Table
from torch import nn

import ttreg
from ttreg.cli.shared import console

Outputs = Callable[[torch.dtype], torch.Tensor]


@dataclass(frozen=True)
class Measured:
    """A program, and its error on the simulated chip by dtype."""

    make: Callable[[], Outputs]
    float32: float
    bfloat16: float
    rounded: float | None = None  # in float32, with rounded weights
    random: bool = True  # whether the seed matters


def of_network(network: nn.Module, *inputs: torch.Tensor, pick: Callable[[Any], torch.Tensor]) -> Outputs:
    """The outputs of a network, whose weights and inputs are brought to the dtype."""
    state = {name: value.clone() for name, value in network.state_dict().items()}

    def outputs(dtype: torch.dtype) -> torch.Tensor:
        network.to(dtype)
        network.load_state_dict(state)
        given = [value.to(dtype) if value.is_floating_point() else value for value in inputs]
        with torch.no_grad():
            return pick(network(*given)).float()

    return outputs


def training_step() -> Outputs:
    """The outputs of a multilayer perceptron after a step of gradient descent."""
    first = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    state = {name: value.clone() for name, value in first.state_dict().items()}
    x, target = torch.randn(32, 64), torch.randint(0, 10, (32,))

    def outputs(dtype: torch.dtype) -> torch.Tensor:
        first.to(dtype)
        first.load_state_dict(state)
        optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
        made = first(x.to(dtype))
        optimizer.zero_grad()
        nn.functional.cross_entropy(made, target).backward()
        optimizer.step()
        return made.detach().float()

    return outputs


def face_networks(name: str, *shape: int) -> Outputs:
    """One network of MTCNN with its own weights, on crops of a photograph."""
    from facenet_pytorch.models import mtcnn
    from skimage import data

    photograph = (torch.tensor(data.astronaut()).permute(2, 0, 1) - 127.5) / 128
    size, (count, edge) = photograph.shape[1:], (shape[0], shape[-1])
    places = [(int(i * (size[0] - edge) / max(count, 1)), 180 + 7 * i) for i in range(count)]
    crops = torch.stack([photograph[:, y : y + edge, x : x + edge] for y, x in places])
    return of_network(getattr(mtcnn, name)().eval(), crops, pick=lambda made: made[0])


def sentences() -> Outputs:
    """MiniLM's embeddings of two sentences, with its own weights."""
    from ttreg.demo.search import SENTENCES, load

    model = load()
    tokens = model.tokenize(list(SENTENCES[:2]))
    network, ids, mask = model[0].auto_model.eval(), tokens["input_ids"], tokens["attention_mask"]

    def embedding(made: Any) -> torch.Tensor:
        counted = mask[..., None].to(made.last_hidden_state.dtype)
        means = (made.last_hidden_state * counted).sum(1) / counted.sum(1)
        return nn.functional.normalize(means)

    return of_network(network, ids, mask, pick=embedding)


def generated(network: Any, tokens: int, attention: str = "eager") -> Outputs:
    """The logits of a language model for a few tokens, and for those that it then generates."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    prompt = torch.randint(0, network.config.vocab_size, (1, 8))

    def outputs(dtype: torch.dtype) -> torch.Tensor:
        network.to(dtype)
        network.load_state_dict(state)
        with torch.no_grad():
            if not tokens:
                return network(prompt).logits.float()
            made = network.generate(
                prompt,
                max_new_tokens=tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
                pad_token_id=0,
            )
        return torch.stack(list(made.logits)).float()

    return outputs


def gpt(tokens: int = 0) -> Outputs:
    """GPT-2 of two layers of 64."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=256, n_positions=64)
    return generated(GPT2LMHeadModel(config).eval(), tokens)


def llama() -> Outputs:
    """Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=256,
    )
    return generated(LlamaForCausalLM(config).eval(), 4)


def convolutions() -> Outputs:
    """Three convolutions with batch norm, and a classifier.

    Layers and statistics are a guess. This network makes as many ttnn calls as the measured one made, and its errors in
    float32 with golden functions and in bfloat16 on CPU are the measured ones.
    """
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
        norm = nn.BatchNorm2d(after)
        statistics = {"running_mean": torch.rand(after) - 0.5, "running_var": torch.rand(after) + 0.5}
        norm.load_state_dict(statistics, strict=False)
        layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), norm, nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return of_network(network.eval(), torch.randn(2, 3, 32, 32), pick=lambda made: made)


class TwoSteps(nn.Module):
    """A cell of a long short-term memory, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(32, 64)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The hidden state after two inputs."""
        return self.cell(second, self.cell(first))[0]


PROGRAMS = {
    "MLP, a training step": Measured(training_step, 3.4e-3, 3.6e-3),
    "P-Net, 48 × 48": Measured(lambda: face_networks("PNet", 1, 3, 48, 48), 4.8e-3, 1.02e-2, random=False),
    "R-Net, 8 crops": Measured(lambda: face_networks("RNet", 8, 3, 24, 24), 3.7e-3, 1.07e-2, 3.27e-3, random=False),
    "MiniLM, 2 sentences": Measured(sentences, 5.5e-3, 9.4e-3, random=False),
    "GPT-2 (2 layers of 64)": Measured(gpt, 2.8e-3, 5.8e-3, 1.9e-3),
    "GPT-2, 4 tokens generated": Measured(lambda: gpt(4), 2.5e-3, 5.0e-3),
    "Llama (2 layers), 4 tokens generated": Measured(llama, 3.1e-3, 6.1e-3),
    "CNN with batch norm": Measured(convolutions, 1.6e-3, 3.9e-3),
    "LSTM cell, two steps": Measured(
        lambda: of_network(TwoSteps(), torch.randn(4, 32), torch.randn(4, 32), pick=lambda made: made), 1.1e-3, 5.3e-3
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict the error of each program, and print it with the measured one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", help=f"of {', '.join(PROGRAMS)}; all if none")
    parser.add_argument("--seeds", type=int, default=3, help="how many, for weights and inputs that are random")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    if unknown := set(options.programs) - set(PROGRAMS):
        parser.error(f"no program is named {', '.join(sorted(unknown))}; known are {', '.join(PROGRAMS)}")
    found = {name: foretold(PROGRAMS[name], options.seeds) for name in options.programs or PROGRAMS}
    if options.json:
        print(json.dumps(found))
        return
    table = Table("program", "weights", *COLUMNS)
    for name, of_weights in found.items():
        for weights, of in of_weights.items():
            table.add_row(name, weights, *(f"{of[column]:.2g}" for column in COLUMNS))
    console().print(table)


# Errors of golden numerics, of CPU in the dtype, of chip numerics, and as measured. Then the ratio of the last two: its
# mean over the seeds, the least and the greatest.
COLUMNS = ("golden", "cpu", "chip", "measured", "ratio", "least", "greatest")


def foretold(program: Measured, seeds: int) -> dict[str, dict[str, float]]:
    """The columns, by the dtype of the weights and whether they are rounded."""
    ways = {"float32": (torch.float32, False, program.float32), "bfloat16": (torch.bfloat16, False, program.bfloat16)}
    if program.rounded is not None:
        ways["float32, rounded"] = torch.float32, True, program.rounded
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for seed in range(seeds if program.random else 1):
        torch.manual_seed(seed)
        outputs = program.make()
        exact = outputs(torch.float32)
        for way, each in found.items():
            dtype, rounds_weights, _ = ways[way]
            errors = {"cpu": relative(outputs(dtype), exact)}
            for numerics in ("golden", "chip"):
                with ttreg.device_mode(device="emulated", numerics=numerics, min_upload_numel=0) as session:
                    session.rounds_weights = rounds_weights and numerics == "chip"
                    made = outputs(dtype)
                errors[numerics] = relative(made, exact)
            each.append(errors)
    return {way: _columns(each, ways[way][2]) for way, each in found.items()}


def _columns(found: list[dict[str, float]], measured: float) -> dict[str, float]:
    ratios = [errors["chip"] / measured for errors in found]
    means = {column: mean(errors[column] for errors in found) for column in found[0]}
    return means | {
        "measured": measured,
        "ratio": geometric_mean(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
    }


def relative(made: torch.Tensor, exact: torch.Tensor) -> float:
    """The norm of the difference over the norm of `exact`."""
    return float((made - exact).double().norm() / exact.double().norm())


if __name__ == "__main__":
    main()
