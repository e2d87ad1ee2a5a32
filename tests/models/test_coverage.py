"""`ttreg coverage` says row for row what a real run of the same model reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
import transformers
from facenet_pytorch.models.mtcnn import PNet
from torch import nn

import ttreg
from ttreg.coverage.measure import Coverage, cover
from ttreg.report import Report
from ttreg.settings import Settings

VOCABULARY = 90
TOKENS = torch.tensor([[5, 9, 2, 33, 71, 6, 8], [4, 12, 7, 89, 3, 0, 0]])
MASK = (TOKENS > 0).long()


def resnet18():
    return torchvision.models.resnet18(), (torch.rand(1, 3, 64, 64),)


def mobilenet_v2():
    return torchvision.models.mobilenet_v2(), (torch.rand(2, 3, 64, 64),)


def vit_b_16():
    """As `vit_b_16`, with fewer and smaller layers."""
    model = torchvision.models.VisionTransformer(64, 16, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128)
    return model, (torch.rand(1, 3, 64, 64),)


def lraspp():
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    return model, (torch.rand(1, 3, 64, 64),)


def bert():
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    return transformers.BertModel(config), {"input_ids": TOKENS, "attention_mask": MASK}


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config), {"input_ids": TOKENS, "attention_mask": MASK}


def t5():
    config = transformers.T5Config(vocab_size=VOCABULARY, d_model=64, d_kv=32, d_ff=128, num_layers=2, num_heads=2)
    inputs = {"input_ids": TOKENS, "attention_mask": MASK, "decoder_input_ids": TOKENS[:, :3]}
    return transformers.T5ForConditionalGeneration(config), inputs


def distilbert():
    config = transformers.DistilBertConfig(vocab_size=VOCABULARY, dim=64, n_layers=2, n_heads=2, hidden_dim=128)
    return transformers.DistilBertModel(config), {"input_ids": TOKENS, "attention_mask": MASK}


def lstm():
    return nn.LSTM(32, 48, num_layers=2, bidirectional=True), (torch.rand(9, 2, 32),)


def pnet():
    return PNet(pretrained=False), (torch.rand(1, 3, 48, 60),)


class Resizer(nn.Module):
    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(picture, (40, 40), mode="bilinear", antialias=True) * 2


def resizer():
    return Resizer(), (torch.rand(1, 3, 64, 64),)


MODELS = (resnet18, mobilenet_v2, vit_b_16, lraspp, bert, gpt2, t5, distilbert, lstm, pnet)


def rows(of: Coverage | Report) -> list[tuple]:
    """All that is told of the calls, but the time that they took."""
    return sorted((r.op, r.placement, r.condition, r.reason, r.got, r.count, r.bytes) for r in of.ops)


def program(made: Callable[[], tuple]) -> tuple[Callable[[], Any], list[torch.Tensor]]:
    """One call of the model, without gradients, and its parameters."""
    torch.manual_seed(0)
    model, inputs = made()
    model.eval()

    def run() -> Any:
        with torch.no_grad():
            return model(**inputs) if isinstance(inputs, dict) else model(*inputs)

    return run, list(model.parameters())


def covered(run: Callable[[], Any], unknown: list[torch.Tensor], values: bool = False, **keywords: Any) -> Coverage:
    def runs(block: Any) -> str:
        with block:
            run()
        return ""

    return cover("model", runs, Settings(**keywords), unknown, values)


def reported(run: Callable[[], Any], **keywords: Any) -> Report:
    with ttreg.device_mode(device="emulated", **keywords) as session:
        run()
    return session.report()


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_coverage_is_what_a_real_run_reports(made):
    run, parameters = program(made)
    said, report = covered(run, parameters), reported(run)
    assert rows(said) == rows(report)
    assert said.totals == report.totals
    assert said.whole
    assert said.totals.device


@pytest.mark.parametrize(
    ("made", "keywords", "differs"),
    [
        (bert, {"min_upload_numel": 0}, True),
        (t5, {"min_upload_numel": 1 << 20}, True),
        (resizer, {"precision": "bfloat16"}, False),  # what is accepted does not depend on what carries it
    ],
    ids=["all uploaded", "all local", "bfloat16"],
)
def test_settings_count_as_in_a_real_run(made, keywords, differs):
    run, parameters = program(made)
    said, plain = covered(run, parameters, **keywords), covered(run, parameters)
    assert rows(said) == rows(reported(run, **keywords))
    assert (rows(said) != rows(plain)) == differs


def test_half_precision_stays_on_the_host_as_in_a_real_run():
    run, parameters = program(lambda: (resnet18()[0].half(), (torch.rand(1, 3, 64, 64).half(),)))
    said = covered(run, parameters)
    assert rows(said) == rows(reported(run))
    assert said.share == 0.0
    assert {got for refused in said.refusals if "batch_norm" in refused.op for got in refused.got} == {"input float16"}


def test_a_fused_layer_is_taken_apart_as_in_a_real_run():
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    run, parameters = program(lambda: (nn.TransformerEncoder(layer, 2), (torch.rand(2, 40, 64),)))
    assert rows(covered(run, parameters)) == rows(reported(run))


def test_generation_needs_values_and_has_them_with_run():
    torch.manual_seed(0)
    model, inputs = gpt2()
    model.eval()

    def generate() -> Any:
        return model.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)

    assert rows(covered(generate, [], values=True)) == rows(reported(generate))


def test_a_detector_is_followed_up_to_its_boxes_and_with_values_to_its_end():
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, topk_candidates=20
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # as they are made, all scores are the same, and no order is right
            nn.init.kaiming_normal_(module.weight)
    picture = torch.rand(3, 60, 80)

    def detect() -> Any:
        with torch.no_grad():
            return model([picture])

    report = reported(detect)
    whole = covered(detect, [], values=True)
    assert rows(whole) == rows(report)
    with_reason = {row[:5] for row in rows(report)}

    def stops(block: Any) -> str:
        with pytest.raises(SystemExit), block:
            detect()
        return ""

    part = cover("detector", stops, Settings())
    assert part.stopped is not None
    assert "ssd.py" in part.stopped.where
    assert {row[:5] for row in rows(part)} < with_reason
