"""Validated runs on both mocked chips: entries and small models pass, and a call that is not ttnn's is found."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Callable
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from ttreg.ops.vocabulary import accurate

import ttreg
from ttreg.conditions import FLOATS
from ttreg.registry import registry
from ttreg.verification.trial import trial

ARCHS = ("wormhole_b0", "blackhole")
SHARE = 0.12  # of all samples; `ttreg verify` takes them all

# What the process of a chip finds out, by name. A process has one mocked chip, so each chip has its own.
FINDINGS: dict[str, Callable[[str], object]] = {}


def finding(function):
    FINDINGS[function.__name__] = function
    return function


@pytest.fixture(scope="module", params=ARCHS)
def found(request, tmp_path_factory):
    """What a process with this mocked chip found out, by name; an error that it met fails the test."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TTREG_", "TT_METAL"))}
    command = [sys.executable, __file__, request.param]
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    findings = next(json.loads(line) for line in lines if line.startswith("{"))
    findings["said"] = {"found": [line for line in lines if line[0] != "{"]}

    def look_up(name):
        assert "error" not in findings[name], findings[name]["error"]
        return findings[name]["found"]

    return look_up


pytestmark = pytest.mark.xdist_group("validated")


def validated(arch: str, **keywords):
    return ttreg.device_mode(device="emulated", arch=arch, validate=True, min_upload_numel=0, **keywords)


# Entries


def tried(block) -> dict:
    """Tries every SHARE-th sample, each entry's first accepted one among them."""
    choice, accepted, errors = random.Random(20), 0, []
    for entry in registry.matching((), "device"):
        first = True
        for number, sample in enumerate(entry.samples()):
            if not first and choice.random() > SHARE:
                continue
            try:
                with block() as session:
                    taken = trial(session, entry, sample).refusal is None
            except Exception as error:
                errors.append(f"{entry.op}, sample {number}: {type(error).__name__}: {error}")
                taken = True
            accepted, first = accepted + taken, first and not taken
    return {"accepted": accepted, "errors": errors}


@finding
def entries(arch):
    return tried(lambda: validated(arch))


@finding
def entries_on_ttnn(arch):
    return tried(lambda: ttreg.device_mode(device="mock", arch=arch, min_upload_numel=0))


@finding
def entries_in_bfloat16(arch):
    return tried(lambda: validated(arch, precision="bfloat16"))


@pytest.mark.parametrize("how", ["entries", "entries_on_ttnn", "entries_in_bfloat16"])
def test_ttnn_accepts_a_sample_of_the_entries_calls(how, found):
    assert found(how)["errors"] == []
    assert found(how)["accepted"] >= len(registry.matching((), "device"))


def test_a_chip_under_two_devices_is_closed_once_and_without_a_word(found):
    assert found("said") == []


@finding
def fidelity(arch):
    with validated(arch) as session:
        return str(accurate(session.tt).math_fidelity)


def test_each_chip_multiplies_in_the_fidelity_that_is_right_on_it(found, request):
    wormhole = "wormhole" in request.node.callspec.id
    assert found("fidelity") == ("MathFidelity.HiFi3" if wormhole else "MathFidelity.HiFi4")


# Models


class Residual(nn.Module):
    """A block of ResNet's."""

    def __init__(self, ins: int, outs: int, stride: int):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs))
        self.two = nn.Sequential(nn.Conv2d(outs, outs, 3, padding=1, bias=False), nn.BatchNorm2d(outs))
        self.past = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.two(F.relu(self.one(x))) + self.past(x))


def convolutional() -> Callable[[], torch.Tensor]:
    stem = (nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    body = (Residual(16, 16, 1), Residual(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    model, image = nn.Sequential(*stem, *body).eval(), torch.rand(2, 3, 64, 64)
    return lambda: model(image)


def transformer() -> Callable[[], torch.Tensor]:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    model, tokens = BertModel(config).eval(), torch.randint(0, 100, (2, 12))
    attention = torch.ones(2, 12, dtype=torch.int64)
    attention[1, 7:] = 0
    return lambda: model(input_ids=tokens, attention_mask=attention).last_hidden_state


def decoder() -> Callable[[], torch.Tensor]:
    """Tokens behind padding, then one more beside what is kept of them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
    )
    model, tokens = LlamaForCausalLM(config).eval(), torch.randint(0, 100, (2, 12))
    attention = torch.ones(2, 12, dtype=torch.int64)
    attention[1, :5] = 0

    def run():
        first = model(tokens, use_cache=True)
        more = model(tokens[:, -1:], past_key_values=first.past_key_values).logits
        return torch.cat([first.logits, more, model(tokens, attention_mask=attention).logits[:, 5:]], 1)

    return run


def trained() -> Callable[[], torch.Tensor]:
    """The gradients of causal attention."""
    inputs = [torch.randn(2, 4, 9, 16, requires_grad=True) for _ in range(3)]

    def run():
        with torch.enable_grad():
            output = F.scaled_dot_product_attention(*inputs, is_causal=True)
            loss = (output * 0.25).square().sum()  # gradients of about 1, as large as what the models give
            return torch.stack(torch.autograd.grad(loss + (output * 0.25).sum(), inputs))

    return run


def compared(arch: str, run: Callable[[], torch.Tensor], tolerance: float = 1e-3, **keywords) -> dict:
    with torch.no_grad():
        expected = run()
        with validated(arch, **keywords) as session:
            result = run()
    report = session.report()
    close = torch.allclose(torch.tensor(result.tolist()), expected, rtol=tolerance, atol=tolerance)
    return {"close": close, "validated": report.device.validated, **report.totals.model_dump(), "report": str(report)}


@finding
def a_cnn(arch):
    return compared(arch, convolutional())


@finding
def bert(arch):
    return compared(arch, transformer())


# A rounding to bfloat16 changes a number by up to 0.4 %; a few come together in a model of a few layers.
IN_BFLOAT16 = {"precision": "bfloat16", "tolerance": 2e-2}


@finding
def a_cnn_in_bfloat16(arch):
    return compared(arch, convolutional(), **IN_BFLOAT16)


@finding
def bert_in_bfloat16(arch):
    return compared(arch, transformer(), **IN_BFLOAT16)


@finding
def llama_in_bfloat16(arch):
    return compared(arch, decoder(), **IN_BFLOAT16)


@finding
def gradients_in_bfloat16(arch):
    return compared(arch, trained(), **IN_BFLOAT16)


@pytest.mark.parametrize(
    "model",
    ["a_cnn", "bert", "a_cnn_in_bfloat16", "bert_in_bfloat16", "llama_in_bfloat16", "gradients_in_bfloat16"],
)
def test_a_model_runs_validated_as_on_cpu(model, found):
    outcome = found(model)
    assert outcome["close"]
    assert outcome["validated"]
    assert outcome["device"] >= 10
    assert outcome["host_float"] == 0, outcome["report"]


# What validation finds


def raised(arch: str, name: str, lowering: Callable) -> str:
    """What a block says to a call of an op of our own with this lowering."""
    library = torch.library.Library(f"ttreg_tests_{name}", "DEF")
    library.define(f"{name}(Tensor self) -> Tensor")
    library.impl(name, torch.clone, "CompositeExplicitAutograd")
    op = getattr(getattr(torch.ops, f"ttreg_tests_{name}"), name)
    ttreg.lower(op.default, samples=list, takes=FLOATS)(lowering)
    try:
        with validated(arch):
            op(torch.rand(4, 32))
    except ttreg.ValidationError as error:
        return str(error)
    finally:
        library._destroy()
    return "nothing"


def padded(tt, self):
    return tt.pad(self, [(1, 0), (0, 0)], 0.0)


def cubed(tt, self):
    return tt.cbrt(self)


@finding
def refused(arch):
    return raised(arch, "padded", padded)


@finding
def differing(arch):
    import ttnn

    from ttreg.devices.emulated import operation, references

    wrong = {
        "dtype": mock.patch.object(operation, "result_dtypes", return_value=[ttnn.bfloat16]),
        "layout": mock.patch.object(operation, "result_layout", return_value=ttnn.ROW_MAJOR_LAYOUT),
        "shape": mock.patch.dict(references.REFERENCES, cbrt=lambda values: values[:1]),
    }
    said = {}
    for what, patch in wrong.items():
        with validated(arch) as session:
            vars(session.device.tt).pop("cbrt", None)  # made anew, with the wrong rule
        with patch:
            said[what] = raised(arch, f"cubed_{what}", cubed)
    return said


def test_a_call_that_ttnn_refuses_is_named_with_its_message_and_entry(found):
    message = found("refused")
    assert message.startswith(
        "ttnn refuses pad(EmulatedTensor([4, 32], DataType.FLOAT32, Layout.TILE), [(1, 0), (0, 0)]"
    )
    assert "on device tile padding does not support front padding" in message
    assert "padded of ttreg_tests_padded.padded.default" in message
    assert "\n" not in message
    assert "backtrace" not in message


@pytest.mark.parametrize(
    ("what", "emulated"),
    [
        ("dtype", "((4, 32), DataType.BFLOAT16, Layout.TILE)"),
        ("layout", "((4, 32), DataType.FLOAT32, Layout.ROW_MAJOR)"),
        ("shape", "((1, 32), DataType.FLOAT32, Layout.TILE)"),
    ],
)
def test_an_emulation_that_ttnn_contradicts_is_named_with_both_answers_and_the_entry(what, emulated, found):
    message = found("differing")[what]
    assert message.startswith("ttnn reports ((4, 32), DataType.FLOAT32, Layout.TILE) for cbrt(EmulatedTensor([4, 32]")
    assert f", emulated {emulated} (in the lowering" in message
    assert f"cubed of ttreg_tests_cubed_{what}.cubed_{what}.default" in message


@finding
def in_modules_of_ttnn(arch):
    from ttreg.devices.base import RefusedByDevice

    with validated(arch) as session:
        device = session.device
    rows = torch.rand(1, 1, 5, 192)
    tt, uploaded = device.tt, device.upload(rows, "float32")
    query, key, value = tt.experimental.nlp_create_qkv_heads(uploaded, num_heads=2)
    together = tt.transformer.concatenate_heads(value)
    said = {}
    row_major = device.upload(rows, "float32", row_major=True)
    chip = ("chip", device._mock.tt, row_major.twin, RefusedByDevice)
    for name, api, given, error in (chip, ("validated", tt, row_major, ttreg.ValidationError)):
        with pytest.raises(error) as caught:
            api.experimental.nlp_create_qkv_heads(given, num_heads=2)
        said[name] = str(caught.value)
    return {
        "shapes": [list(t.twin.shape) for t in (query, key, value, together)],
        "equal": torch.equal(together.data, rows[0, ..., 128:]),
        "said": said,
    }


def test_functions_in_modules_of_ttnn_are_emulated_and_validated_as_its_own(found):
    told = found("in_modules_of_ttnn")
    assert told["shapes"] == [[1, 2, 5, 32], [1, 2, 32, 5], [1, 2, 5, 32], [1, 5, 64]]
    assert told["equal"]
    assert told["said"]["chip"].startswith("ttnn.experimental.nlp_create_qkv_heads: ")
    assert told["said"]["validated"].startswith("ttnn refuses experimental.nlp_create_qkv_heads(EmulatedTensor(")


def main(arch: str) -> None:
    """Print what the process finds out, or the error that it met."""
    torch.manual_seed(0)
    findings = {}
    for name, function in FINDINGS.items():
        try:
            findings[name] = {"found": function(arch)}
        except Exception:
            findings[name] = {"error": traceback.format_exc()}
    print(json.dumps(findings))


if __name__ == "__main__":
    main(sys.argv[1])
