"""Many inputs of different sizes in a row: what a session keeps returns to its level, and a size that comes back is
decided already."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.functional import interpolate
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.ops import nms

import ttreg
from ttreg.memory.tensor import DeviceTensor


class Detector(nn.Module):
    """Convolutions over a picture that is brought to a height of 64 pixels; a box where the score is high."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = image.shape[-2:]
        resized = interpolate(image[None], (64, max(8, 64 * width // height)), mode="bilinear", antialias=True)
        out = self.head(self.body(resized - resized.mean()))[0].flatten(1)
        scores = out[0].sigmoid()
        likely = scores >= scores.topk(12).values[-1]
        boxes = out[1:, likely].T.reshape(-1, 2, 2)
        boxes = torch.cat([boxes[:, 0], boxes[:, 0] + boxes[:, 1].exp() * 4], 1)
        kept = nms(boxes, scores[likely], 0.5)
        return boxes[kept], scores[likely][kept]


def picture(number: int) -> torch.Tensor:
    """The same one for the same number."""
    generator = torch.Generator().manual_seed(number)
    height, width = torch.randint(70, 160, (2,), generator=generator).tolist()
    return torch.rand(3, height, width, generator=generator)


def held(session: ttreg.Session) -> tuple[int, int, int]:
    """Bytes of all tensors that Python can see, tensors of the device, and host storages that have an upload.

    The emulated device's values are tensors too. Bytes of a storage count once.
    """
    gc.collect()
    # type() and not isinstance(), which asks objects that answer for others.
    others = (DeviceTensor, FakeTensor)  # compiled functions of other tests may leave fake ones, without memory
    tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor) and type(o) not in others]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t.device.type == "cpu"}
    return sum(storages.values()), len(session.live()), len(session.uploads._storages)


def decisions(monkeypatch) -> list[str]:
    """The ops that are decided on from now on."""
    from ttreg.runtime import dispatch

    made: list[str] = []
    decide = dispatch.decide

    def counted(session, op, args, kwargs):
        made.append(str(op))
        return decide(session, op, args, kwargs)

    monkeypatch.setattr(dispatch, "decide", counted)
    return made


def assert_level(model: Callable[[torch.Tensor], object], count: int, allowed: int, monkeypatch) -> None:
    """After the last picture no more is held than after half of them; one that comes back needs no decision."""
    decided = decisions(monkeypatch)
    found = []
    with ttreg.device_mode(device="emulated") as session, torch.no_grad():
        for number in range(count):
            model(picture(number))
            if number + 1 in (count // 2, count):
                found.append(held(session))
        decided.clear()
        for number in range(count - 5, count):
            model(picture(number))
        assert [op for op in decided if not op.startswith("aten.rand")] == []
    warm, last = found
    assert all(alive == 0 for _, alive, _ in found)  # what the pictures left behind is gone
    assert last[0] <= warm[0] + allowed
    assert last[2] <= warm[2] + 10


def test_memory_returns_to_its_level(monkeypatch):
    monkeypatch.setattr("ttreg.ops.vocabulary.kept.MOST_BYTES", 100_000)  # the weights for some fifteen sizes
    monkeypatch.setattr("ttreg.memory.uploads._MOST_SHARED", 100_000)  # a few of what the program makes
    torch.manual_seed(0)
    assert_level(Detector().eval(), 80, 300_000, monkeypatch)


@pytest.mark.long
def test_a_hundred_sizes_through_ssdlite(monkeypatch):
    monkeypatch.setattr("ttreg.ops.vocabulary.kept.MOST_BYTES", 200_000)
    monkeypatch.setattr("ttreg.memory.uploads._MOST_SHARED", 100_000)
    monkeypatch.setattr("ttreg.runtime.padded.Padded._MOST_BYTES", 1_000_000)
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.24).eval()
    assert_level(lambda image: model([image]), 100, 3_000_000, monkeypatch)


def test_what_is_made_from_sizes_is_bounded(monkeypatch):
    from ttreg.ops.vocabulary import kept as kept_values

    monkeypatch.setattr(kept_values, "MOST_BYTES", 20_000)
    monkeypatch.setattr(kept_values, "_kept", type(kept_values._kept)())
    monkeypatch.setattr(kept_values, "_bytes", 0)
    calls = []

    @kept_values.from_sizes
    def made(size):
        calls.append(size)
        return torch.zeros(size)

    sizes = [1000, 1001, 1002, 1000, 1003, 1004, 1005, 1000]
    for size in sizes:
        assert made(size).shape == (size,)
        assert kept_values._bytes <= 20_000
    assert calls == [1000, 1001, 1002, 1003, 1004, 1005]  # what is used again stays longest
    assert made(100_000).shape == (100_000,)  # larger than all that may be kept: it alone is
    assert len(kept_values._kept) == 1
    made(3)
    assert [arguments for _, arguments in kept_values._kept] == [(3,)]


def test_old_plans_give_way_and_come_back(monkeypatch):
    """With more sizes than there is room for plans, what all sizes share is decided again now and then, no more."""
    monkeypatch.setattr("ttreg.runtime.ledger._KEPT_PLANS", 60)
    decided = decisions(monkeypatch)
    torch.manual_seed(0)
    shared, x = nn.Linear(32, 32), torch.randn(64, 32)
    with ttreg.device_mode(device="emulated") as session, torch.no_grad():
        for size in range(40, 140):
            shared(x)  # the same for all
            torch.rand(size, 40).exp() + 1
            assert len(session.ledger._plans) <= 60
        calls = session.report().totals.calls
    assert calls >= 400
    assert 1 < decided.count("aten.linear.default") < 10
