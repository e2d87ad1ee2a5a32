"""Real ttnn under ttreg, on mocked chips: shapes and dtypes, refused calls, device memory, opening and closing."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import ttreg
from ttreg.conditions import FLOATS

ARCHS = ("wormhole_b0", "blackhole")
PASSES = 100
REFUSED = "on device tile padding does not support front padding"

# What the process of a chip finds out, by name. A process has one mocked chip, so each chip has its own.
FINDINGS: dict[str, Callable[[str], object]] = {}


def finding(function):
    return FINDINGS.setdefault(function.__name__, function)


class Findings(dict):
    """Findings by name; one that met an error fails the test that asks for it."""

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if isinstance(value, str) and value.startswith("Traceback"):
            pytest.fail(value)
        return value


@pytest.fixture(scope="module", params=ARCHS)
def chip(request, tmp_path_factory):
    """What a process with this mocked chip found out, what it printed and what it left in its folder."""
    folder = tmp_path_factory.mktemp(request.param)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TTREG_", "TT_METAL"))}
    done = subprocess.run(
        [sys.executable, __file__, request.param], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *said, found = done.stdout.splitlines()
    return Findings(json.loads(found), arch=request.param, said=said, stderr=done.stderr, left=os.listdir(folder))


pytestmark = pytest.mark.xdist_group("chip")


def block(arch: str, **keywords):
    return ttreg.device_mode(device="mock", arch=arch, min_upload_numel=0, **keywords)


def described(tensor: torch.Tensor) -> str:
    """What a chip without values can promise, also of the downloaded data."""
    plain = torch.from_numpy(tensor.numpy()) if tensor.dtype is not torch.bfloat16 else tensor.float().bfloat16()
    return f"{tensor.dtype}{list(tensor.shape)}{tensor.stride()} {plain.dtype}{list(plain.shape)}"


def program(x: torch.Tensor) -> list[torch.Tensor]:
    """Ops, views and in-place writes over all dtypes."""
    doubled = x + x
    doubled.view(-1)[3:40].mul_(2)
    doubled.relu_()
    narrow = doubled.to(torch.bfloat16)
    values, places = x.sort(dim=1)
    parts = x.t().split(10)
    return [doubled, doubled.t(), narrow, x > 0.5, values, places, x.argmax(1), x.sum(), parts[1], x[:, None, :5] * 2]


@finding
def outputs(arch):
    x = torch.rand(48, 40)
    with block(arch) as session:
        inside = [described(t) for t in program(session.to_device(x))]
        kept = program(session.to_device(x))
    after, cpu = ([described(t) for t in outputs] for outputs in (kept, program(x.clone())))
    info = session.report().device
    return {"cpu": cpu, "inside": inside, "after": after, "device": [info.name, info.arch]}


def test_outputs_have_the_shapes_strides_and_dtypes_of_cpu(chip):
    found = chip["outputs"]
    assert found["inside"] == found["cpu"]
    assert found["after"] == found["cpu"]
    assert found["device"] == ["mock", chip["arch"]]


# A call that ttnn refuses


def private_ops():
    """`pad_above`, whose lowering ttnn refuses, and `tiled`, which can ask for any amount of memory."""
    library, ops = torch.library.Library("ttreg_tests", "DEF"), torch.ops.ttreg_tests
    library.define("pad_above(Tensor self) -> Tensor")
    library.impl("pad_above", lambda self: F.pad(self, (0, 0, 1, 0)), "CompositeExplicitAutograd")
    library.define("tiled(Tensor self, int count) -> Tensor")
    library.impl("tiled", lambda self, count: self.repeat(count, 1), "CompositeExplicitAutograd")

    @ttreg.lower(ops.pad_above.default, samples=list, takes=FLOATS)
    def pad_above(tt, self):
        return tt.pad(self, [(1, 0), (0, 0)], 0.0)

    @ttreg.lower(ops.tiled.default, samples=list, takes=FLOATS)
    def tiled(tt, self, count):
        return tt.repeat(self, [count, 1])

    return library


def raised(function) -> str:
    try:
        function()
    except ttreg.TtregError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@finding
def refused_raise(arch):
    x = torch.rand(64, 64)
    with block(arch):
        hidden = torch.relu(x)
        error = raised(lambda: torch.ops.ttreg_tests.pad_above(hidden))
        inside = described(hidden @ hidden)
    with block(arch):
        return {"error": error, "inside": inside, "afterwards": described(x + 1)}


def test_a_refused_call_in_the_middle_of_a_model_raises_with_op_and_message(chip):
    error = chip["refused_raise"]["error"]
    assert error.startswith("DeviceError: ttreg_tests.pad_above.default(self=float32[64, 64]): ttnn refused ttnn.pad")
    assert REFUSED in error
    assert "\n" not in error, "it has a backtrace"


def test_block_and_process_go_on_after_a_refused_call(chip):
    found = chip["refused_raise"]
    assert found["inside"] == found["afterwards"] == described(torch.rand(64, 64))


@finding
def refused_fallback(arch):
    x = torch.rand(64, 64)
    expected = F.pad(x, (0, 0, 1, 0)).tolist()
    with block(arch, on_device_error="fallback") as session:
        right = torch.ops.ttreg_tests.pad_above(x).tolist() == expected
        inner = described(torch.relu(torch.ops.ttreg_tests.pad_above(torch.relu(x))))
    rows = [row.model_dump() for row in session.report().ops]
    return {"right": right, "inner": inner, "rows": rows}


def test_a_refused_call_falls_back_to_the_host_and_is_recorded(chip):
    found = chip["refused_fallback"]
    assert found["right"]
    assert found["inner"] == described(torch.rand(65, 64))
    rows = {row["op"]: row for row in found["rows"]}
    padding = rows["ttreg_tests.pad_above.default"]
    assert (padding["placement"], padding["condition"], padding["count"]) == ("host", "ttnn accepts the call", 2)
    assert REFUSED in padding["got"]
    assert rows["aten.relu.default"]["placement"] == "device"


@finding
def out_of_memory(arch):
    x = torch.rand(1024, 1024)  # 1,500 times this is 6.3 GB, which fits, and more than any chip has if eight are held
    with block(arch):
        held: list[torch.Tensor] = []

        def hold():
            for _ in range(8):
                held.append(torch.ops.ttreg_tests.tiled(x, 1_500))

        error = raised(hold)
        held.clear()
        return {"error": error, "afterwards": described(torch.ops.ttreg_tests.tiled(x, 2))}


def test_tensors_beyond_the_chips_memory_raise_and_the_block_goes_on(chip):
    found = chip["out_of_memory"]
    assert found["error"].startswith("DeviceError: ttreg_tests.tiled.default(self=float32[1024, 1024], count=1500)")
    assert "Out of Memory" in found["error"]
    assert found["afterwards"] == described(torch.rand(2048, 1024))


# Device memory


def memory_in_use(device) -> list[int]:
    """The bytes allocated in each bank of DRAM and of L1."""
    import ttnn

    kinds = (ttnn.BufferType.DRAM, ttnn.BufferType.L1, ttnn.BufferType.L1_SMALL)
    return [ttnn.get_memory_view(device, kind).total_bytes_allocated_per_bank for kind in kinds]


def small_cnn() -> torch.nn.Module:
    convolutions = (
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
    )
    return torch.nn.Sequential(*convolutions, torch.nn.Flatten(), torch.nn.Linear(8 * 8 * 8, 10)).eval()


@finding
def memory(arch):
    model, image = small_cnn(), torch.rand(1, 3, 16, 16)
    with block(arch) as session:
        chip = session.tt.device
    gc.collect()
    chip.clear_program_cache()
    before, passes, after = memory_in_use(chip), [], []
    gc.disable()  # what is no longer needed is freed at once, not when Python looks for cycles
    for _ in range(2):
        with block(arch), torch.no_grad():
            for _ in range(PASSES // 2):
                model(image).tolist()
                passes.append(memory_in_use(chip))
        after.append(memory_in_use(chip))
    gc.enable()
    chip.clear_program_cache()  # programs keep tables of their own on the device
    return {"before": before, "passes": passes, "after": after, "gone": memory_in_use(chip)}


def test_device_memory_is_the_same_after_each_forward_pass(chip):
    passes = chip["memory"]["passes"]
    assert passes == [passes[0]] * PASSES
    assert passes[0] > chip["memory"]["before"]  # the weights stay


def test_device_memory_is_free_once_the_block_has_ended(chip):
    found = chip["memory"]
    assert found["after"] == [found["after"][0]] * 2
    assert found["gone"] == found["before"] == [0, 0, 0]


# Opening and closing


@finding
def shared(arch):
    outer = block(arch)
    with outer as first, block(arch) as second:
        torch.rand(64, 64) + 1
    with block(arch) as third, outer as again:
        return [session.device is first.device for session in (second, third, again)]


def test_nested_and_successive_sessions_share_the_device(chip):
    assert chip["shared"] == [True, True, True]


@finding
def other_chip(arch):
    def enter(**keywords):
        with ttreg.device_mode(arch=ARCHS[arch == ARCHS[0]], **keywords):
            pass

    with block(arch):
        x = torch.rand(64, 64) + 1
        errors = [raised(lambda: enter(device="mock")), raised(lambda: enter(device="emulated", validate=True))]
        return {"errors": errors, "afterwards": described(x @ x)}


def test_a_second_chip_in_a_process_is_refused_and_the_first_still_works(chip):
    expected = f"DeviceUnavailableError: this process has a mocked {chip['arch']}; use a process for each arch"
    assert chip["other_chip"]["errors"] == [expected, expected]
    assert chip["other_chip"]["afterwards"] == described(torch.rand(64, 64))


@finding
def many_reads(arch):
    with block(arch) as session:
        uploaded = {name: session.device.upload(torch.ones(3, 4), name) for name in ("float32", "bfloat16", "int32")}
        uploaded["uint32"] = session.device.upload(torch.ones(3, 4, dtype=torch.int64), "uint32")
        read = {name: described(session.device.download(value)) for name, value in uploaded.items()}
        for _ in range(8200):
            session.device.download(uploaded["float32"])
        again = {name: described(session.device.download(value)) for name, value in uploaded.items()}
        import ttnn

        for _ in range(8191 - 7000 - 100):  # but for what the findings before have read
            ttnn.to_torch(uploaded["float32"])
        image = session.to_device(torch.rand(2, 4, 9, 9))
        for n in range(60):  # each prepares a kernel and a bias of its own
            made = described(F.conv2d(image, torch.rand(6, 4, 3, 3), torch.rand(6), padding=n % 2))
        return [read, again, made]


def test_a_mocked_chip_can_be_read_more_often_than_ttnn_has_room_to_note_down(chip):
    first, last, of_a_convolution = chip["many_reads"]
    assert first == last
    assert of_a_convolution == described(F.conv2d(torch.rand(2, 4, 9, 9), torch.rand(6, 4, 3, 3), padding=1))


def test_the_chip_is_closed_at_exit_without_a_word_and_leaves_nothing_in_the_folder(chip):
    assert chip["left"] == []
    assert chip["stderr"] == ""
    assert chip["said"] == []  # not of calls that ttnn refused either


def test_an_unknown_chip_is_refused_with_the_known_ones():
    with pytest.raises(ttreg.SettingsError, match="arch is 'grayskull'; expected one of 'wormhole_b0', 'blackhole'"):
        ttreg.device_mode(device="mock", arch="grayskull")


def main(arch: str) -> None:
    """Print what the process finds out about the mocked chip, or the error that it met instead."""
    torch.manual_seed(0)
    library = private_ops()
    found: dict[str, object] = {}
    for name, function in FINDINGS.items():
        try:
            found[name] = function(arch)
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))
    library._destroy()


if __name__ == "__main__":
    main(sys.argv[1])
