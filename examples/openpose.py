"""Body, hands and face of a person in a photograph with controlnet-aux's OpenposeDetector."""

from seeded import openpose
from skimage import data

import ttreg

photograph = data.astronaut()
# With trained weights: OpenposeDetector.from_pretrained("lllyasviel/ControlNet")
there = openpose.person(right=4, down=3, hidden=openpose.LEGS | openpose.LEFT_ARM)
detector = openpose.detector([photograph], [there], thinner=8)

with ttreg.device_mode() as session:
    drawing = detector(photograph, hand_and_face=True)

print(f"drawn on {drawing.width} × {drawing.height} pixels, in {len(drawing.getcolors(maxcolors=1 << 24))} colours")
print(session.report())
