"""Tiles are 32 × 32: what a call takes in them is known before it is made, and what takes too much is the host's."""

import subprocess
import sys

import pytest
import torch

import ttreg
from ttreg.explain.why import Oracle
from ttreg.memory.padding import row_major, tiled
from ttreg.meta import intern
from ttreg.settings import Settings

aten = ttreg.aten


def meta(*shape, dtype=torch.float32):
    stride, step = [], 1
    for size in reversed(shape):
        stride.insert(0, step)
        step *= size
    return intern(dtype, shape, tuple(stride))


def asked(op, *args, arch="wormhole_b0"):
    return Oracle(Settings(arch=arch)).ask(op, args, {})


@pytest.mark.parametrize(
    ("shape", "dtype", "in_tiles", "in_rows"),
    [
        ((), torch.float32, 4096, 32),
        ((33,), torch.bfloat16, 2 * 32 * 64, 96),
        ((5, 64, 2), torch.float32, 5 * 64 * 32 * 4, 5 * 64 * 32),
        ((7, 1, 1), torch.bool, 7 * 2048, 7 * 32),
        ((32, 32), torch.int64, 4096, 4096),
    ],
)
def test_what_a_shape_takes(shape, dtype, in_tiles, in_rows):
    assert (tiled(shape, dtype), row_major(shape, dtype)) == (in_tiles, in_rows)


def gradients_of_convolution(outs, channels, size):
    """The gradients of a kernel of one place, which tiles pad a thousandfold unless it is held as an image."""
    grad, image, kernel = meta(1, outs, size, size), meta(1, channels, size, size), meta(outs, channels, 1, 1)
    settings = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
    return aten.convolution_backward.default, grad, image, kernel, [0], *settings, [True, True, False]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ((aten.sub.Tensor, meta(5000, 1, 3), meta(1, 5000, 3)), "float32[5000, 5000, 3], which padded to tiles"),
        ((aten.mul.Tensor, meta(1, 16, 1024, 1024, 1), 2.0), None),  # as a matrix
        ((aten.exp.default, meta(1, 4096, 20, 64, 1, 2)), None),
        ((aten.mul.Tensor, meta(1, 16, 1024, 1024, 1), meta(1)), "takes 2.1 GB of the call's 4.3 GB"),
        ((aten.sort.default, meta(4096, 20, 64, 1, 2), -1), "takes 21.5 GB of the call"),
        ((aten.stack.default, [meta(4194304, 1)] * 4, -1), "float32[4194304, 1, 4], which padded to tiles"),
        ((aten.cumsum.default, meta(4194304, 2), 0), "[4194304, 2] inside of ttnn.cumsum"),
        ((aten.cumprod.default, meta(4194304, 2), -2), "[4194304, 2] inside of ttnn.cumprod"),
        ((aten.unsqueeze.default, meta(1, 16, 1024, 1024), -1), None),
        ((aten.exp.default, meta(16384, 1024)), None),
        ((aten.exp.default, meta(200000, 3)), None),
        (gradients_of_convolution(2048, 1024, 4), None),
        (gradients_of_convolution(64, 64, 5000), "[1, 5000, 5000, 64] in ttnn.reshape, which padded to tiles"),
    ],
)
def test_a_call_that_tiles_make_too_large_says_what_it_takes(call, named):
    answer = asked(*call)
    assert answer.accepted is (named is None)
    if named is not None:
        assert answer.placement == "host"
        assert answer.condition == "fits in the chip's DRAM"
        assert named in answer.got


def test_a_view_that_tiles_make_too_large_says_so():
    answer = asked(aten.unsqueeze.default, meta(1, 16, 1024, 1024, 4), -1)
    assert "float32[1, 16, 1024, 1024, 4, 1], which padded to tiles takes 68.7 GB" in answer.got


def test_a_larger_chip_takes_more():
    call = aten.sub.Tensor, meta(5000, 1, 3), meta(1, 5000, 3)
    assert not asked(*call).accepted
    assert asked(*call, arch="blackhole").accepted


def test_a_tensor_inside_of_a_lowering_counts(private_op):
    def as_columns(tt, self):
        return tt.reshape(tt.exp(tt.reshape(self, [self.shape[0] * self.shape[1], 1, 1])), list(self.shape))

    op = private_op("columns(Tensor self) -> Tensor", torch.exp)
    ttreg.lower(op, samples=list, when=[ttreg.conditions.Dtype("self", (torch.float32,))])(as_columns)
    answer = asked(op, meta(1024, 1024))
    assert "[1048576, 1, 1] in ttnn.reshape, which padded to tiles takes 4.3 GB" in answer.got
    assert asked(op, meta(256, 256)).accepted


@pytest.mark.parametrize("shape", [(2000000, 1), (3, 100000, 2), (16, 64, 64, 1, 2)])
def test_small_last_dimensions_run_on_a_chip(shape):
    with ttreg.device_mode(device="mock") as session:
        x = session.to_device(torch.zeros(shape))
        ((x * 2 + 1).unsqueeze(-1).sigmoid().squeeze(-1) - x).sum()
        x.transpose(0, -1).reshape(-1).exp()


def test_einsum_and_rotary_pairs_of_ordinary_size_stay_on_the_chip():
    shapes = (1, 16, 512, 512), (1, 16, 512, 64), (1, 2048, 24, 128), (1, 2048, 1, 64, 2, 2)
    inputs = [torch.zeros(shape) for shape in shapes]
    with ttreg.device_mode(device="mock") as session:
        attention, values, x, turns = map(session.to_device, inputs)
        torch.einsum("b h i j, b h j d -> b h i d", attention, values)
        pairs = x.float().reshape(*x.shape[:-1], -1, 1, 2)
        (turns[..., 0] * pairs[..., 0] + turns[..., 1] * pairs[..., 1]).reshape(x.shape) + 1
        assert session.report().totals.host == 0


def test_a_program_that_has_weighed_a_call_ends_without_a_word():
    program = (
        "import torch, ttreg\nwith ttreg.device_mode(device='emulated'): torch.rand(1000, 1000) @ torch.rand(1000, 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
