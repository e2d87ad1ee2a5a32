"""What the emulated device with the chip's numerics foretells, beside what was measured of the entries' samples.

Measured on the vendor's functional simulator of Wormhole, with ttnn 0.81.1's own kernels. `samples.jsonl` holds the
largest absolute error of each output beside CPU's, `special_values.jsonl` the inputs for which the chip gave another
value than CPU, and that value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import ttreg
from ttreg.checking.compare import differences
from ttreg.devices import open_device
from ttreg.registry import registry
from ttreg.samples import Sample
from ttreg.settings import Settings

HERE = Path(__file__).parent
SETTINGS = {"device": "emulated", "numerics": "chip"}
NOTHING = 1e-6
FEW = 30
SHARE = 0.95

# What these entries call of ttnn is something else than when they were measured, or is about to be.
OUTGROWN = (
    *("_adaptive_avg_pool2d", "upsample", "where", "logical_not", "xlogy", "prod", "log_sigmoid", "softplus"),
    *("gelu_backward", "erfc", "erfinv", "lgamma", "layer_norm", "group_norm", "batch_norm"),
)
# Some called one kernel: it is held to their measurements in their place.
KERNELS: dict[str, Any] = {
    "aten.erfc.default": "erfc",
    "aten.erfinv.default": "erfinv",
    "aten.log_sigmoid_forward.default": "log_sigmoid",
    "aten.softplus.default": "softplus",
    "aten.xlogy.Tensor": "xlogy",
    "aten.prod.dim_int": "prod",
}


def lines(name: str) -> Iterator[Any]:
    with (HERE / name).open() as file:
        yield from map(json.loads, file)


def entries() -> dict[str, Any]:
    return {str(entry.op): entry for entry in registry}


def is_outgrown(op: str) -> bool:
    return any(part in op for part in OUTGROWN)


def described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return f"[{', '.join(map(described, value))}]" if isinstance(value, (list, tuple)) else str(value)


def outputs(result: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def largest(made: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest absolute difference where both are finite."""
    apart = differences(made, exact)
    return float(apart[apart.isfinite()].max()) if apart.isfinite().any() else 0.0


def agree(foretold: float, measured: float) -> bool:
    """Whether they are within a factor of four of each other, or both next to nothing."""
    return max(foretold, measured) < NOTHING or measured / 4 <= foretold <= measured * 4


def is_close(foretold: float, measured: float) -> bool:
    """Whether a prediction is as good as one of a whole program has to be."""
    return 0.75 * measured <= foretold <= 1.35 * measured


def foretold(op: Any, sample: Sample) -> list[tuple[torch.dtype, float]]:
    """The dtype and the error of each output."""
    exact = outputs(op(*sample.args, **sample.kwargs))
    with ttreg.device_mode(**SETTINGS, min_upload_numel=0), torch.no_grad():
        made = outputs(op(*sample.args, **sample.kwargs))
    return [(b.dtype, largest(a.clone(), b)) for a, b in zip(made, exact, strict=True)]


@pytest.fixture(scope="module")
def errors_of_samples() -> list[tuple[str, int, torch.dtype, float, float]]:
    """Op, number of the sample, dtype, and the foretold and the measured error of each output."""
    known, found = entries(), []
    for op, rows in lines("samples.jsonl"):
        samples = list(known[op].samples()) if op in known and not is_outgrown(op) else []
        for number, text, errors in rows:
            if number < len(samples) and text.startswith(described(list(samples[number].args))):
                made = foretold(known[op].op, samples[number])
                found += [(op, number, *each, error or 0.0) for each, error in zip(made, errors, strict=False)]
    return found


def test_the_errors_of_samples(errors_of_samples):
    wrong = [row for row in errors_of_samples if not agree(*row[3:])]
    assert len(errors_of_samples) > 1000
    assert len(wrong) <= (1 - SHARE) * len(errors_of_samples), wrong


@pytest.mark.parametrize(("dtype", "least", "share"), [(torch.float32, 25, 0.95), (torch.bfloat16, 75, 0.85)])
def test_the_errors_that_matter_are_foretold_closely(errors_of_samples, dtype, least, share):
    """In bfloat16 a value that is rounded the other way makes a factor of two of the largest error."""
    found = [row for row in errors_of_samples if row[2] is dtype and row[4] and max(row[3:]) > NOTHING]
    wrong = [row for row in found if not is_close(*row[3:])]
    assert len(found) > least
    assert len(wrong) <= (1 - share) * len(found), wrong


def test_the_errors_of_kernels_that_entries_called():
    device, known, found = open_device(Settings(**SETTINGS)), entries(), []

    def uploaded(value: Any) -> Any:
        return device.upload(value, described(value).partition("[")[0]) if isinstance(value, torch.Tensor) else value

    for op, rows in lines("samples.jsonl"):
        kernel = KERNELS.get(op)
        samples = list(known[op].samples()) if kernel is not None else []
        for number, text, errors in rows if samples else ():
            sample = samples[number]
            if (
                sample.kwargs
                or described(list(sample.args)) != text
                or any(d.dtype is torch.int32 for d in outputs(sample.args))
            ):
                continue
            exact = outputs(known[op].op(*sample.args))[0]
            if exact.numel() < FEW:  # what their few values happen to be is all that counts
                continue
            made = device.download(getattr(device.tt, kernel)(*map(uploaded, sample.args)))
            found.append((op, number, largest(made, exact), errors[0]))
    wrong = [row for row in found if not agree(*row[2:])]
    assert len(found) > 15
    assert len(wrong) <= 0.1 * len(found), wrong


def same(a: float, b: float) -> bool:
    return torch.allclose(torch.tensor(a).double(), torch.tensor(b).double(), rtol=1e-2, atol=1e-30, equal_nan=True)


def given_to(op: Any, *inputs: torch.Tensor) -> list[float]:
    """What an elementwise op gives; `glu` takes its two factors in one tensor."""
    if op is torch.ops.aten.glu.default:
        return op(torch.stack([*inputs, *inputs], 1), 1).flatten().tolist()
    return [float(value) for value in op(*inputs).tolist()]


def test_special_values():
    known, found = entries(), []
    for op, dtype, rows in lines("special_values.jsonl"):
        if is_outgrown(op):
            continue
        columns = zip(*(map(float, inputs) for inputs, _ in rows), strict=True)
        inputs = [torch.tensor(column).to(getattr(torch, dtype)) for column in columns]
        with ttreg.device_mode(**SETTINGS, min_upload_numel=0):
            made = given_to(known[op].op, *inputs)
        found += [(op, dtype, given, a, b) for (given, b), a in zip(rows, made, strict=True) if b is not None]
    wrong = [row for row in found if not same(float(row[3]), float(row[4]))]
    assert len(found) > 800
    assert len(wrong) <= (1 - SHARE) * len(found), wrong
