"""Convolutions and pools as large as models have them: ttnn's allocator accepts each, on both mocked chips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import ttreg

ARCHS = ("wormhole_b0", "blackhole")

Layer = partial[torch.Tensor]


def conv(shape, outs, kernel, groups=1, bias=True, dtype=torch.float32, **options) -> Layer:
    """A convolution; `shape` is the image's."""
    tensors = [torch.rand(shape), torch.rand(outs, shape[1] // groups, kernel, kernel), *[torch.rand(outs)] * bias]
    return partial(F.conv2d, *(tensor.to(dtype) for tensor in tensors), groups=groups, **options)


def transposed(shape, outs, kernel, dtype=torch.float32, **options) -> Layer:
    """A transposed convolution; `outs` are the channels that each group makes."""
    x, weight = torch.rand(shape), torch.rand(shape[1], outs, kernel, kernel)
    return partial(F.conv_transpose2d, x.to(dtype), weight.to(dtype), **options)


BFLOAT16 = torch.bfloat16


def pool(function, shape, *args, **options) -> Layer:
    return partial(function, torch.rand(shape), *args, **options)


# Each makes its tensors only when it is called, in the process of a chip.
LAYERS: dict[str, Callable[[], Layer]] = {
    "3x3 over a megapixel": lambda: conv((1, 3, 1024, 1024), 64, 3, padding=1),
    "3x3 over 512 channels at 64x64": lambda: conv((1, 512, 64, 64), 512, 3, padding=1),
    "7x7 with stride 2 at 224x224": lambda: conv((1, 3, 224, 224), 64, 7, stride=2, padding=3),
    "1x1 from 2048 channels at 7x7": lambda: conv((1, 2048, 7, 7), 512, 1),
    "depthwise 3x3 at 112x112": lambda: conv((1, 96, 112, 112), 96, 3, groups=96, padding=1),
    "dilated 3x3 at 64x64": lambda: conv((1, 256, 64, 64), 256, 3, dilation=2, padding=2),
    "3x3 in 32 groups at 56x56": lambda: conv((1, 128, 56, 56), 128, 3, groups=32, padding=1),
    "3x3 over a batch of 8": lambda: conv((8, 64, 56, 56), 64, 3, padding=1),
    "transposed 2x2 at 56x56": lambda: transposed((1, 128, 56, 56), 64, 2, stride=2),
    "transposed 4x4 at 32x32": lambda: transposed((1, 256, 32, 32), 128, 4, stride=2, padding=1),
    "bfloat16, 12 channels at 449x449": lambda: conv((1, 12, 449, 449), 8, 3, bias=False, dtype=BFLOAT16, padding=1),
    "bfloat16, depthwise gradient at 151x151": lambda: transposed(
        (1, 144, 75, 75), 1, 3, dtype=BFLOAT16, groups=144, stride=2
    ),
    "bfloat16, depthwise gradient at 213x213": lambda: transposed(
        (1, 168, 106, 106), 1, 3, dtype=BFLOAT16, groups=168, stride=2
    ),
    "max_pool 3x3 at 112x112": lambda: pool(F.max_pool2d, (1, 64, 112, 112), 3, stride=2, padding=1),
    "avg_pool 2x2 at 56x56": lambda: pool(F.avg_pool2d, (1, 128, 56, 56), 2),
    "adaptive_avg_pool to 1x1": lambda: pool(F.adaptive_avg_pool2d, (1, 512, 7, 7), 1),
    "adaptive_avg_pool to 7x7": lambda: pool(F.adaptive_avg_pool2d, (1, 512, 30, 30), 7),
}
for size in (224, 384):
    for patch in (14, 16, 32):
        patches = partial(conv, (1, 3, size, size), 768, patch, stride=patch)
        LAYERS[f"patches of {patch} at {size}x{size}"] = patches


@pytest.fixture(scope="module", params=ARCHS)
def seen(request, tmp_path_factory):
    """What became of each layer in a process with this mocked chip."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TTREG_", "TT_METAL"))}
    command = [sys.executable, __file__, request.param]
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


pytestmark = pytest.mark.xdist_group("large convolutions")


@pytest.mark.parametrize("layer", LAYERS)
def test_it_fits_the_chip(layer, seen):
    assert seen[layer]["error"] == ""
    placements = {row["op"]: (row["placement"], row["got"]) for row in seen[layer]["rows"]}
    assert set(placements.values()) <= {("device", ""), ("view", ""), ("decomposed", "")}, placements
    assert ("device", "") in placements.values()
    assert seen[layer]["shape"] == seen[layer]["expected"]


def main(arch: str) -> None:
    """Print the outcome of each layer on the mocked chip."""
    outcomes = {}
    for name, prepare in LAYERS.items():
        layer = prepare()
        on_meta = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in layer.args]
        expected = list(layer.func(*on_meta, **layer.keywords).shape)
        error, shape, rows = "", None, []
        with ttreg.device_mode(device="mock", arch=arch, min_upload_numel=0) as session, torch.no_grad():
            try:
                output = layer()
                shape = list(output.shape)
                del output  # before the block ends and downloads it
            except ttreg.TtregError as refused:
                error = str(refused)
            rows = [row.model_dump(include={"op", "placement", "got"}) for row in session.report().ops]
        outcomes[name] = {"error": error, "shape": shape, "expected": expected, "rows": rows}
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1])
