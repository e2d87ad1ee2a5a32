"""controlnet-aux's OpenPose, whole, on photographs: the device finds the CPU's key points, to the pixel."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import ttreg
from ttreg.checking.compare import pcc
from ttreg.report import Report, why

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def openpose() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        return importlib.import_module("seeded.openpose")


class Scene(NamedTuple):
    """What a detector is made from and tried on."""

    photographs: list[np.ndarray]
    detector: Any


@pytest.fixture(scope="module")
def astronaut(openpose: Any) -> Scene:
    """One person with one arm in view, for networks with an eighth of the channels."""
    from skimage import data

    photographs = [data.astronaut()]
    people = [openpose.person(4, 3, openpose.LEGS | openpose.LEFT_ARM)]
    return Scene(photographs, openpose.detector(photographs, people, thinner=8))


@pytest.fixture(scope="module")
def four_sizes(openpose: Any) -> Scene:
    """Photographs that OpenPose brings to four sizes, for networks with a quarter of the channels.

    In them, from the first on: both hands and the face; a face and no hand, in a grey picture; a person without neck,
    whose arm and head are two groups until shoulder and ear join them; and two people and three stray points, without
    any face.
    """
    from skimage import data

    photographs = [data.astronaut(), data.camera()[:, 100:420], data.stereo_motorcycle()[0], data.coffee()[50:350]]
    neck, right_arm, left_arm, head = openpose.NECK, openpose.RIGHT_ARM, openpose.LEFT_ARM, openpose.HEAD
    people = [
        openpose.person(4, 3, openpose.LEGS),
        openpose.person(0, 1, right_arm | left_arm),
        openpose.person(16, 0, neck | left_arm),
        openpose.person(18, 0, left_arm | head)
        + openpose.person(1, 0, set(range(18)) - {1, 2, 3})
        + openpose.person(32, 0, right_arm | left_arm | {0}),
    ]
    return Scene(photographs, openpose.detector(photographs, people, thinner=4))


class Found(NamedTuple):
    """What one call of the detector gives: the drawing, and the people that it was drawn from."""

    drawing: np.ndarray
    people: list[Any]

    def bodies(self) -> list[list[tuple[float, float] | None]]:
        return [[point and (point.x, point.y) for point in person.body.keypoints] for person in self.people]

    def hands_and_faces(self) -> list[tuple[Any, Any, Any]]:
        return [(person.left_hand, person.right_hand, person.face) for person in self.people]

    def counts(self) -> tuple[int, int, int]:
        """How many people, hands and faces."""
        parts = self.hands_and_faces()
        hands = sum(hand is not None for left, right, _ in parts for hand in (left, right))
        return len(self.people), hands, sum(face is not None for *_, face in parts)


def find(detector: Any, photograph: np.ndarray) -> Found:
    """Call the detector as its users do, and keep what it draws from."""
    people = []
    original = detector.detect_poses

    def noted(*args: Any, **kwargs: Any) -> list[Any]:
        people.extend(original(*args, **kwargs))
        return people

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "detect_poses", noted)
        return Found(np.array(detector(photograph, hand_and_face=True)), people)


def same_people(scene: Scene, **mode: Any) -> tuple[list[Found], Report]:
    """What the detector finds in each photograph, the same on the CPU and on the device, and the device's report."""
    expected = [find(scene.detector, photograph) for photograph in scene.photographs]
    with ttreg.device_mode(device="emulated", **mode) as session:
        found = [find(scene.detector, photograph) for photograph in scene.photographs]
    report = session.report()
    for given, wanted in zip(found, expected, strict=True):
        assert given.bodies() == wanted.bodies()
        assert given.hands_and_faces() == wanted.hands_and_faces()
        assert np.array_equal(given.drawing, wanted.drawing)
        for person, other in zip(given.people, wanted.people, strict=True):
            assert person.body.total_parts == other.body.total_parts
            assert person.body.total_score == pytest.approx(other.body.total_score, rel=0.05)
    assert all(why(row) for row in report.ops if row.placement == "host")
    assert report.totals.device >= 0.95 * (report.totals.device + report.totals.host_float), str(report)
    return found, report


def test_a_person_with_a_hand_and_a_face(astronaut: Scene) -> None:
    (found,), _ = same_people(astronaut)
    assert found.counts() == (1, 1, 1)
    assert found.drawing.shape == (512, 512, 3)
    nose = found.people[0].body.keypoints[0]  # at 10.5 and 6.5 of the 23 cells of the heat map
    assert (nose.x, nose.y) == pytest.approx((10.5 / 23, 6.5 / 23), abs=0.5 / 23)


@pytest.mark.long
def test_validated(astronaut: Scene) -> None:
    (found,), report = same_people(astronaut, validate=True)
    assert found.counts() == (1, 1, 1)
    assert report.device.validated


@pytest.mark.long
def test_photographs_of_four_sizes(four_sizes: Scene) -> None:
    found, report = same_people(four_sizes)
    assert [one.drawing.shape[:2] for one in found] == [(512, 512), (832, 512), (512, 768), (512, 1024)]
    assert [one.counts() for one in found] == [(1, 2, 1), (1, 0, 1), (1, 1, 1), (2, 1, 0)]
    joined = found[2].people[0].body
    assert joined.total_parts == 8
    assert joined.keypoints[1] is None
    detector = four_sizes.detector
    networks = [detector.body_estimation.model, detector.hand_estimation.model, detector.face_estimation.model]
    weights = sum(len(list(network.parameters())) for network in networks)
    assert report.transfers.weight_uploads == weights  # once each, whatever the sizes


@pytest.mark.long
def test_four_sizes_carried_in_bfloat16_beside_float32(four_sizes: Scene) -> None:
    found, _ = same_people(four_sizes, precision="bfloat16")
    assert sum(one.counts()[0] for one in found) == 5


@pytest.mark.long
def test_all_channels(openpose: Any, astronaut: Scene) -> None:
    people = [openpose.person(4, 3, openpose.LEGS | openpose.LEFT_ARM)]
    (found,), _ = same_people(Scene(astronaut.photographs, openpose.detector(astronaut.photographs, people)))
    assert found.counts() == (1, 1, 1)


@pytest.mark.long
def test_nobody(astronaut: Scene) -> None:
    plain = np.full((300, 400, 3), 90, np.uint8)
    (found,), _ = same_people(astronaut._replace(photographs=[plain]))
    assert found.counts() == (0, 0, 0)
    assert not found.drawing.any()


@pytest.mark.long
def test_float32_carried_in_bfloat16_beside_float32(astronaut: Scene) -> None:
    (found,), _ = same_people(astronaut, precision="bfloat16")
    assert found.counts() == (1, 1, 1)


class InBfloat16(torch.nn.Module):
    """A network in bfloat16 between float32: the detector feeds float32, and NumPy has no bfloat16."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network.bfloat16()

    def forward(self, picture: torch.Tensor) -> Any:
        result = self.network(picture.bfloat16())
        return type(result)(one.float() for one in result) if isinstance(result, (list, tuple)) else result.float()


@pytest.mark.long
def test_bfloat16_networks_beside_the_same_on_cpu(astronaut: Scene, openpose: Any) -> None:
    from skimage import data

    people = [openpose.person(4, 3, openpose.LEGS | openpose.LEFT_ARM)]
    detector = openpose.detector(astronaut.photographs, people, thinner=8)
    for part in (detector.body_estimation, detector.hand_estimation, detector.face_estimation):
        part.model = InBfloat16(part.model)
    (found,), _ = same_people(Scene([data.astronaut()], detector))
    assert found.counts() == (1, 1, 1)


@pytest.mark.long
def test_heat_maps(astronaut: Scene) -> None:
    """Where nothing is cut off by a threshold: the fields, and the maps that the stages before the last pass on."""
    network = astronaut.detector.body_estimation.model
    picture = torch.from_numpy(astronaut.photographs[0]).permute(2, 0, 1)[None] / 256 - 0.5
    seen: list[torch.Tensor] = []
    handles = [
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
        for name, stage in network.named_children()
        if name.startswith("model")
    ]
    with torch.no_grad():
        network(picture)
        with ttreg.device_mode(device="emulated"):
            network(picture)
    for handle in handles:
        handle.remove()
    assert len(seen) == 2 * 13
    assert min(pcc(given, wanted) for wanted, given in zip(seen[:13], seen[13:], strict=True)) > 0.9999


WRONG: dict[str, Any] = {
    "floats": np.zeros((64, 64, 3), np.float32),
    "five channels": np.zeros((64, 64, 5), np.uint8),
    "a batch": np.zeros((1, 64, 64, 3), np.uint8),
    "no pixels": np.zeros((0, 0, 3), np.uint8),
    "text": "a photograph",
}


@pytest.mark.long
@pytest.mark.parametrize("photograph", WRONG.values(), ids=WRONG)
def test_errors_come_out_unchanged(photograph: Any, astronaut: Scene) -> None:
    expected = error_of(astronaut.detector, photograph)
    with ttreg.device_mode(device="emulated"):
        assert error_of(astronaut.detector, photograph) == expected
        assert find(astronaut.detector, astronaut.photographs[0]).counts() == (1, 1, 1)


def error_of(detector: Any, photograph: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- which one it is, is what is compared
        detector(photograph, hand_and_face=True)
    return f"{caught.type.__name__}: {caught.value}"
