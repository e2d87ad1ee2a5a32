"""The models that benchmarks run, what is read of a chip while they do, and a process of its own for each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch

from ttreg.bench.timing import under
from ttreg.devices.base import Namespace
from ttreg.report import Report
from ttreg.runtime.session import Session

TOKENS = 32


@dataclass(frozen=True)
class Program:
    """A forward pass, which returns its outputs; inputs, made anew for each; and how many outputs are read."""

    outputs: Callable[..., list[Any]]
    inputs: Callable[[], tuple[torch.Tensor, ...]]
    reads: int = 1

    def forward(self, *inputs: torch.Tensor) -> None:
        """One forward, whose outputs are read."""
        for output in self.outputs(*inputs):
            if isinstance(output, torch.Tensor):
                output.numpy()

    def run(self, session: Session) -> Report:
        """One forward in the session, and what that has counted until then."""
        inputs = self.inputs()
        with under(session)():
            self.forward(*inputs)
        return session.report()


def torchvision_model(name: str) -> Program:
    """A classifier of one picture of 224 × 224."""
    import torchvision

    model = getattr(torchvision.models, name)(weights=None).eval()
    return Program(lambda image: [model(image)], lambda: (torch.rand(1, 3, 224, 224),))


def bert() -> Program:
    """BERT-base over 128 tokens."""
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig()).eval()
    return Program(lambda ids: [model(ids).last_hidden_state], lambda: (torch.randint(0, 30000, (1, 128)),))


def gpt() -> Program:
    """GPT-2's size of layers, four of them, decoding token by token with a cache of keys and values.

    Each step reads the likeliest token; the next is given, since a mocked chip has no values.
    """
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=4)).eval()

    def decode(*tokens: torch.Tensor) -> list[int]:
        cache = DynamicCache(config=model.config)
        return [int(model(t, past_key_values=cache, use_cache=True).logits[0, -1].argmax()) for t in tokens]

    return Program(decode, lambda: tuple(torch.randint(0, 50000, (1, 1)) for _ in range(TOKENS)), reads=TOKENS)


def decoding(model: Any, tokens: int) -> Program:
    """A language model that is given tokens one by one, with a cache of keys and values; each one's scores are read."""
    from transformers import DynamicCache

    def decode(*given: torch.Tensor) -> list[torch.Tensor]:
        cache = DynamicCache(config=model.config)
        return [model(token, past_key_values=cache, use_cache=True).logits for token in given]

    size = model.config.vocab_size
    return Program(decode, lambda: tuple(torch.randint(0, size, (1, 1)) for _ in range(tokens)), reads=tokens)


def mtcnn() -> Program:
    """The three networks of the face detector, on what they see of a picture; it looks at values between them."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    networks = PNet().eval(), RNet().eval(), ONet().eval()
    shapes = (1, 3, 120, 160), (32, 3, 24, 24), (8, 3, 48, 48)

    def detect(*inputs: torch.Tensor) -> list[Any]:
        return [output for network, x in zip(networks, inputs, strict=True) for output in network(x)]

    return Program(detect, lambda: tuple(map(torch.rand, shapes)), reads=7)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "ResNet-18": lambda: torchvision_model("resnet18"),
    "ResNet-50": lambda: torchvision_model("resnet50"),
    "MobileNetV2": lambda: torchvision_model("mobilenet_v2"),
    "ViT-B/16": lambda: torchvision_model("vit_b_16"),
    "BERT-base": bert,
    "GPT, 32 tokens": gpt,
    "MTCNN's networks": mtcnn,
}


def unknown(names: Iterable[str], known: Iterable[str]) -> str | None:
    """What to say of names that no model has; None if all have one."""
    known = list(known)
    strange = sorted(set(names) - set(known))
    return f"no model is named {', '.join(strange)}; known are {', '.join(known)}" if strange else None


def in_a_process(file: str, name: str, *options: str) -> dict[str, Any]:
    """The figures of one model, which the benchmark in that file prints when it is told to measure "here"."""
    if sys.stderr.isatty():
        print(name, file=sys.stderr)
    command = [sys.executable, file, name, *options, "--here"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def dram_in_use(chip: Any) -> int:
    """Bytes allocated in the chip's DRAM."""
    import ttnn

    memory = ttnn.get_memory_view(chip.tt.device, ttnn.BufferType.DRAM)
    return memory.total_bytes_allocated_per_bank * memory.num_banks


def programs(chip: Any) -> int:
    """How many device programs the chip has made until now: each was compiled for one form of one call."""
    return chip.tt.device.num_program_cache_entries()


class Counting:
    """A device's ttnn, which counts the calls of each function and the device programs that they make.

    It counts for sessions that are opened while it is in the device's place. Without `api` it calls what was there.
    """

    def __init__(self, device: Any, api: Any = None):
        self.device, self._api = device.tt.device, api or device.tt
        self.calls: Counter[str] = Counter()
        self.programs: Counter[str] = Counter()
        self.most = 0  # the largest of what `after_each` finds
        self.after_each: Callable[[], int] | None = None

    def __getattr__(self, name: str) -> Any:
        found = attrgetter(name)(self._api)
        if isinstance(found, (ModuleType, Namespace)):
            return Namespace(self, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            before = self.device.num_program_cache_entries()
            result = found(*args, **kwargs)
            self.calls[name] += 1
            self.programs[name] += self.device.num_program_cache_entries() - before
            if self.after_each is not None:
                self.most = max(self.most, self.after_each())
            return result

        return call
