"""Entries' samples with extreme values and shapes, on the device beside the CPU."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

import ttreg
from ttreg.call import bind_arguments
from ttreg.meta import meta_of
from ttreg.modes import without_modes
from ttreg.registry import Entry, registry
from ttreg.samples import Sample
from ttreg.verification.trial import decision

from ..calls import MOST_ELEMENTS, difference, outcome
from ..left_open import name_of
from ..variations import Variation
from .changes import ALL, changed, compared
from .exceptions import known

ENTRIES = [entry for entry in registry if entry.kind == "device"]
HUGE = "more than 2³¹ elements, on meta"


@dataclass
class Found:
    """How many calls of each kind were tried, how many are known to differ by their reasons, and what else differs."""

    tried: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, entry: Entry, variation: Variation, differing: str) -> None:
        """Count a call."""
        self.tried[variation.what] += 1
        if differing:
            exception = known(name_of(entry), variation.name, variation.what)
            if exception is not None:
                self.known[exception.reason] += 1
            else:
                self.wrong.append(f"{entry.op}, {variation}: {differing}")


def sweep(entries: Iterable[Entry], samples: int, share: float = 1.0) -> Found:
    """Try a share of the changes of so many accepted samples of each entry, both drawn by the name of the op."""
    found = Found()
    device = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with device as session, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in entries:
            chance = random.Random(str(entry.op))
            accepted = [s for s in entry.samples() if not _is_large(s) and decision(session, entry, s) is None]
            for sample in chance.sample(accepted, min(samples, len(accepted))):
                for variation in changed(entry.op, sample.args, sample.kwargs):
                    if chance.random() >= share or not compared(entry.op, variation):
                        continue
                    differing = difference(session, entry, variation.arguments)
                    if differing is not None:
                        found.add(entry, variation, differing)
                if chance.random() < share and not _gives_a_list(entry):
                    _try_huge(entry, sample, found)
    return found


def _try_huge(entry: Entry, sample: Sample, found: Found) -> None:
    """The sample with more rows than an int32 can count: meta tensors give in the block what they give without."""
    with without_modes():
        huge = tree_map_only(torch.Tensor, _huge, bind_arguments(entry.op, sample.args, sample.kwargs))
        expected = outcome(entry.op, huge)
    given = outcome(entry.op, huge)
    both = [[meta_of(t) for t in made] if isinstance(made, list) else type(made) for made in (given, expected)]
    differing = "" if both[0] == both[1] else f"{both[0]} instead of {both[1]}"
    found.add(entry, Variation(ALL, HUGE, huge), differing)


def _gives_a_list(entry: Entry) -> bool:
    """Whether there could be as many results as rows, as of `split`."""
    return any(isinstance(result.type, torch.ListType) for result in entry.op._schema.returns)


def _huge(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.ndim or not tensor.numel():
        return tensor.to("meta")
    rows = (1 << 31) // tensor[0].numel() + 1
    return torch.empty(rows, *tensor.shape[1:], dtype=tensor.dtype, device="meta")


def _is_large(sample: Sample) -> bool:
    leaves = tree_leaves((sample.args, sample.kwargs))
    return any(isinstance(leaf, torch.Tensor) and leaf.numel() > MOST_ELEMENTS for leaf in leaves)
