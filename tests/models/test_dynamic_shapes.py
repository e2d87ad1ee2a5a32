"""Programs whose shapes and steps depend on what they compute, beside the same on CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.ops import DeformConv2d, MultiScaleRoIAlign, masks_to_boxes, ps_roi_align, ps_roi_pool, roi_pool


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sharpened(layer: nn.Linear, factor: float) -> nn.Linear:
    """The layer with larger weights, so that its best output is clearly the best."""
    with torch.no_grad():
        layer.weight.mul_(factor)
    return layer


class Decoder(nn.Module):
    """Scores of the next word from those before it."""

    def __init__(self, words: int = 60, width: int = 48):
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(words, width), nn.GRU(width, width, batch_first=True)
        self.scores = sharpened(nn.Linear(width, words), 12)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.scores(self.rnn(self.embedding(words))[0][:, -1]).log_softmax(-1)


def beam_search(decoder: nn.Module, first: torch.Tensor, beams: int, end: int, longest: int) -> list[tuple]:
    """The finished sentences with their scores, the best first; beams are reordered by gather at every step."""
    alive, scores, finished = first.expand(beams, -1), torch.tensor([0.0] + [-1e9] * (beams - 1)), []
    while len(alive) and alive.shape[1] < longest:
        totals = scores[:, None] + decoder(alive)
        best, places = totals.flatten().topk(2 * beams)
        rows, words = places // totals.shape[1], places % totals.shape[1]
        longer = torch.cat([alive.gather(0, rows[:, None].expand(-1, alive.shape[1])), words[:, None]], 1)
        done = words == end
        finished += [
            (total.item(), sentence.tolist()) for total, sentence in zip(best[done], longer[done], strict=True)
        ]
        alive, scores = longer[~done][:beams], best[~done][:beams]
        if len(finished) >= beams and max(finished)[0] > scores[0].item():
            break
    finished += [(total, sentence) for total, sentence in zip(scores.tolist(), alive.tolist(), strict=True)]
    return sorted(finished, reverse=True)


@pytest.mark.parametrize("beams", [1, 4])
def test_beam_search_by_hand(beams, beside_cpu):
    decoder = Decoder().eval()
    with torch.no_grad():
        decoder.scores.bias[7] += 4  # the end comes after a few words

    def program():
        with torch.no_grad():
            return [beam_search(decoder, torch.tensor([[first]]), beams, end=7, longest=14) for first in (1, 2, 3)]

    assert len({len(sentence) for found in program() for _, sentence in found}) > 1
    beside_cpu(program, networks=[decoder])


class EarlyExit(nn.Module):
    """As many of its layers as it takes until it is sure enough."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(8)])
        self.heads = nn.ModuleList([sharpened(nn.Linear(64, 10), 2 * depth) for depth in range(1, 9)])

    def forward(self, x: torch.Tensor, sure: float) -> tuple[int, torch.Tensor]:
        for depth, (layer, head) in enumerate(zip(self.layers, self.heads, strict=True)):
            x = x + layer(x).relu()
            chances = head(x).softmax(-1)
            if chances.amax(-1).mean().item() > sure:
                return depth, chances
        return len(self.layers), chances


def test_early_exit(beside_cpu):
    model, x = EarlyExit().eval(), torch.randn(20, 64) / 4

    def program():
        with torch.no_grad():
            return [model(x, sure) for sure in (0.2, 0.5, 0.8, 0.99)]

    assert len({depth for depth, _ in program()}) > 2
    beside_cpu(program, networks=[*model.layers, *model.heads])


class Selecting(nn.Module):
    """Goes on with those rows, columns and values that its first layer scores well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(50, 60), nn.Linear(60, 30)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.first(x)
        rows = self.second(y[y.mean(1) > 0])  # a mask
        columns = y[:, (y > 1.2).any(0)] * 2
        places = (y > 1).nonzero()
        count = len(places)
        best = y.topk(1 + count % 7, dim=1)
        return {
            "rows": rows,
            "columns": columns,
            "places": places,
            "values": y.masked_select(y > 0.5).exp(),
            "of places": y[places[:, 0], places[:, 1]].tanh(),
            "best": torch.take_along_dim(y, best.indices, 1) + best.values,
            "kinds": torch.stack([(y.round() == kind).float().mean() for kind in y.round().unique()]),
            "groups": torch.cat([part.mean(0) for part in y.split([count % 40, 40 - count % 40]) if len(part)]),
            "filled": y.masked_fill(y > y.mean(), 0.0).sum(1),
            "last": torch.arange(count).float()[-3:].sqrt(),
        }


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_shapes_from_masks_and_counts(shift, beside_cpu):
    model, x = Selecting().eval(), torch.randn(40, 50) + shift

    def program():
        with torch.no_grad():
            return model(x)

    expected = program()
    assert 0 < len(expected["rows"]) < 40
    # What selects by values is the host's, so that here more than a few calls are.
    beside_cpu(program, networks=[model.first, model.second])


def test_sizes_that_the_data_gives(beside_cpu):
    """A mask is found, cut out of the picture, brought to a common size, and pasted back at its own."""
    find, classify = nn.Conv2d(3, 1, 5, padding=2), nn.Conv2d(3, 8, 3)
    image = interpolate(torch.rand(1, 3, 8, 9), (90, 110), mode="bicubic")

    def program():
        with torch.no_grad():
            score = find(image)[0, 0]
            levels = [score.quantile(q) for q in (0.5, 0.9, 0.99)]
            boxes = masks_to_boxes(torch.stack([score > level for level in levels]))
            found = []
            for x1, y1, x2, y2 in boxes.int().tolist():
                part = interpolate(image[..., y1 : y2 + 1, x1 : x2 + 1], (24, 24), mode="bilinear")
                features = classify(part).relu()
                pasted = interpolate(features, (y2 - y1 + 1, x2 - x1 + 1), mode="nearest")
                found.append((features.mean((0, 2, 3)), pasted.amax((0, 1))))
            return boxes, found

    beside_cpu(program, networks=[find, classify])


def test_regions_of_interest(beside_cpu):
    """torchvision's own ops run on the host, and say why."""
    body, places = nn.Conv2d(3, 8, 3, padding=1), MultiScaleRoIAlign(["0", "1"], 4, 2)
    deformed, offsets = DeformConv2d(8, 6, 3, padding=1), nn.Conv2d(8, 18, 3, padding=1)
    after = nn.Linear(8 * 16, 20)
    images = torch.rand(2, 3, 40, 48)
    boxes = [torch.tensor([[1.0, 2, 30, 22], [3, 3, 19, 38]]), torch.tensor([[0.0, 0, 5, 9]])]

    def program():
        with torch.no_grad():
            x = body(images)
            regions = places({"0": x, "1": nn.functional.avg_pool2d(x, 2)}, boxes, [(40, 48), (40, 48)])
            return (
                after(regions.flatten(1)),
                [pool(x, boxes, 2) for pool in (roi_pool, ps_roi_align, ps_roi_pool)],
                deformed(x, offsets(x)),
            )

    report = beside_cpu(program, networks=[body, offsets, after])
    reasons = {row.op: row.reason for row in report.ops if row.op.startswith("torchvision")}
    assert len(reasons) == 5
    assert all("data" in reason for reason in reasons.values())


@pytest.mark.long
@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_segmentation_of_different_sizes(name, beside_cpu):
    from torchvision.models import segmentation

    keywords = {"weights": None, "weights_backbone": None, "num_classes": 5}
    model = getattr(segmentation, name)(**keywords).train()
    images = [interpolate(torch.rand(2, 3, 6, 7), size, mode="bicubic") for size in ((65, 50), (48, 97))]
    with torch.no_grad():
        for image in images:
            model(image)  # so that running statistics keep random weights' activations in range
    model.eval()

    def program():
        with torch.no_grad():
            return [model(image)["out"] for image in images]

    beside_cpu(program, networks=[model])


def language_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=90,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config).eval()
    sharpened(model.lm_head, 20)
    return model


@pytest.mark.parametrize("beams", [3, pytest.param(5, marks=pytest.mark.long)])
def test_beam_search_of_transformers(beams, beside_cpu):
    model = language_model()
    words = torch.tensor([[0, 0, 5, 9, 30], [1, 8, 44, 3, 12]])

    def program():
        return model.generate(
            words,
            attention_mask=(words > 0).long(),
            num_beams=beams,
            num_return_sequences=2,
            max_new_tokens=6,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
        )["sequences"]

    beside_cpu(program, networks=[model])


def test_in_real_ttnn(beside_cpu):
    decoder, model, x = Decoder().eval(), Selecting().eval(), torch.randn(40, 50)

    def program():
        with torch.no_grad():
            return beam_search(decoder, torch.tensor([[1]]), 2, end=7, longest=4), model(x)

    beside_cpu(program, networks=[decoder, model.first, model.second], validate=True)
