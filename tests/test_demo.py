"""The demo: both parts agree with the plain CPU, and it says so when they do not."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

import ttreg
from ttreg import demo
from ttreg.demo import faces, part, search

pytestmark = pytest.mark.xdist_group("demo")


class Shown(NamedTuple):
    code: int
    text: str
    faces: faces.Faces
    search: search.Search
    output: Path


def run_demo(output: Path, **mode: Any) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=120)
    code = demo.run(output, console, **mode)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The demo as a user runs it, once, with the parts' results kept."""
    output = tmp_path_factory.mktemp("demo") / "made by the demo"
    kept: dict[str, Any] = {}

    def keeping(module: Any) -> Callable[..., part.Part]:
        original = module.run

        def run(*args: Any, **mode: Any) -> part.Part:
            kept[module.__name__] = original(*args, **mode)
            return kept[module.__name__]

        return run

    with pytest.MonkeyPatch.context() as patch:
        for module in (faces, search):
            patch.setattr(module, "run", keeping(module))
        code, text = run_demo(output, device="emulated")
    return Shown(code, text, kept[faces.__name__], kept[search.__name__], output)


def test_agrees(shown: Shown) -> None:
    assert shown.faces.problems() == []
    assert shown.search.problems() == []
    assert shown.code == 0


def test_finds_the_face_where_the_cpu_does(shown: Shown) -> None:
    original, *others = shown.faces.found
    assert original.picture == "512 × 512"
    (face,) = original.device
    assert face.box == pytest.approx([181.05, 62.16, 267.75, 172.05], abs=1)
    assert face.probability == pytest.approx(0.99999, abs=1e-3)
    assert [len(found.device) for found in others] == [1] * 5


def test_ranks_like_the_cpu(shown: Shown) -> None:
    for ranking, best in zip(shown.search.rankings, ("Roots take up water", "A compass needle"), strict=True):
        assert [hit.sentence for hit in ranking.device] == [hit.sentence for hit in ranking.cpu]
        assert ranking.device[0].sentence.startswith(best)


def test_neighbouring_ranks_are_apart(shown: Shown) -> None:
    """So that an identical ranking is no matter of luck on a device that rounds."""
    for ranking in shown.search.rankings:
        scores = [hit.score for hit in ranking.cpu]
        assert min(a - b for a, b in pairwise(scores)) > 0.009


def test_networks_run_on_the_device(shown: Shown) -> None:
    for figures in (shown.faces.figures, shown.search.figures):
        assert figures.network.share >= 0.95
        assert figures.second_weight_uploads == 0
        assert figures.report.transfers.weight_uploads > 0
        assert all(row.reason for row in figures.report.ops if row.placement == "host")


def test_shows_both_answers(shown: Shown) -> None:
    from PIL import Image

    with Image.open(shown.output / "faces.png") as picture:
        assert picture.size == (512, 512)
        left, top, *_ = shown.faces.found[0].device[0].box
        assert picture.convert("RGB").getpixel((round(left) + 40, round(top) + 1)) == (0, 255, 0)
    for words in ("plain CPU", "device", "largest difference of boxes", "time: ", "faces.png", "agrees"):
        assert words in shown.text


def test_results_have_a_machine_form(shown: Shown) -> None:
    for result in (shown.faces, shown.search):
        loaded = result.model_dump(mode="json")
        assert loaded["agreed"] is True
        assert {"name", "figures", "differences"} <= loaded.keys()


def changed_face(result: faces.Faces, **changes: Any) -> faces.Faces:
    first, *others = result.found
    face = first.device[0].model_copy(update=changes)
    return result.model_copy(update={"found": [first.model_copy(update={"device": [face]}), *others]})


def lost_face(result: faces.Faces) -> faces.Faces:
    first, *others = result.found
    return result.model_copy(update={"found": [first.model_copy(update={"device": []}), *others]})


def changed_figures(result: faces.Faces, **changes: Any) -> faces.Faces:
    return result.model_copy(update={"figures": result.figures.model_copy(update=changes)})


WORSE: dict[str, tuple[Callable[[faces.Faces], faces.Faces], str]] = {
    "a box two pixels off": (
        lambda r: changed_face(r, box=(183.05, 62.16, 267.75, 172.05)),
        "boxes (pixels) differ",
    ),
    "another probability": (lambda r: changed_face(r, probability=0.99), "probabilities differ"),
    "a lost face": (lost_face, "boxes (pixels) differ by inf"),
    "a network on the host": (
        lambda r: changed_figures(r, network=part.NetworkCalls(device=9, host_float=1)),
        "only 90.0%",
    ),
    "weights uploaded again": (
        lambda r: changed_figures(r, second_weight_uploads=3),
        "uploaded 3 weights again",
    ),
}


@pytest.mark.parametrize("name", WORSE)
def test_exits_with_1_after(name: str, shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worsen, problem = WORSE[name]
    monkeypatch.setattr(faces, "run", lambda *_, **__: worsen(shown.faces))
    monkeypatch.setattr(search, "run", lambda *_, **__: shown.search)
    code, text = run_demo(tmp_path)
    assert code == 1
    assert problem in text


def test_another_ranking_is_a_disagreement(shown: Shown) -> None:
    first, second = shown.search.rankings
    swapped = first.model_copy(update={"device": [first.device[1], first.device[0], *first.device[2:]]})
    result = shown.search.model_copy(update={"rankings": [swapped, second]})
    assert not result.agreed
    assert "ranks differ by 2" in result.problems()[0]


class WrongDevice(TorchDispatchMode):
    """Counts like a session, and gets convolutions wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        result = func(*args, **(kwargs or {}))
        return result + 0.02 if func is torch.ops.aten.convolution.default else result

    def report(self) -> ttreg.Report:
        from ttreg.report import DeviceInfo, Report, Totals, Transfers

        device = DeviceInfo(name="wrong", arch="none", ttnn_version="none", validated=False)
        return Report(device=device, ops=[], transfers=Transfers(), totals=Totals(device=self.calls))


def test_a_wrong_device_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ttreg, "device_mode", WrongDevice)
    result = faces.run(tmp_path)
    assert not result.agreed
    assert 0 < result.figures.network.device < result.figures.report.totals.device


KINDS = ("device", "host_float")


def test_only_calls_inside_the_networks_are_counted() -> None:
    session = SimpleNamespace(device=0, host_float=0)
    session.report = lambda: SimpleNamespace(totals=SimpleNamespace(**{k: getattr(session, k) for k in KINDS}))

    class Network(torch.nn.Module):
        def forward(self, value: int) -> int:
            session.device += 3
            session.host_float += 1
            return value

    network, counted = Network(), part.NetworkCalls()
    with counted.counted(session, [network]):
        session.device += 100
        network(1)
        session.host_float += 100
        network(2)
    network(3)
    assert (counted.device, counted.host_float) == (6, 2)
    assert counted.share == 0.75


def test_no_counted_call_is_no_share() -> None:
    assert part.NetworkCalls().share == 0


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name in ("facenet_pytorch", "skimage") else object())
    code, answered = run_demo(tmp_path)
    text = capsys.readouterr().err
    assert (code, answered) == (2, "")
    assert "needs facenet-pytorch, scikit-image" in text
    for words in ("make setup", "pip install 'ttreg[models]'", "pip install --no-deps facenet-pytorch"):
        assert words in text


@contextmanager
def noted_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    asked: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        asked.append(args)
        raise OSError("no network in this test")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield asked


def test_loading_asks_no_hub(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with noted_connections(monkeypatch) as asked:
        search.load()
        faces.sizes()
    assert asked == []
    assert "Loading weights" not in capfd.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_command_exits_with_the_demos_code(code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ttreg.cli import app

    given: list[Path] = []

    def run(output: Path, *_: Any, **__: Any) -> int:
        given.append(output)
        return code

    monkeypatch.setattr(demo, "run", run)
    assert CliRunner().invoke(app, ["demo", "--output", str(tmp_path)]).exit_code == code
    assert given == [tmp_path]
