"""The device that tests run on, and a program's outcome on it beside plain PyTorch's."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_map_only

import ttreg
from ttreg import devices
from ttreg.conditions import FLOATS
from ttreg.devices.emulated import device as emulated_device
from ttreg.registry import registry

_LIBRARY = torch.library.Library("ttreg_tests", "DEF")
_HOST_FUNCTIONS: dict = {}  # by the name of the op that they implement
_REACHED: list[str] = []  # what a test has tried to reach on other machines
_LOOPBACK = ("", "localhost", "::1")  # beside 127.*, where processes of a distributed program meet
PLACES = ("inside the block", "inside, small inputs local", "in another thread", "after the block")


def pytest_terminal_summary(terminalreporter):
    """Print which share of the operator tests' samples ran on the device, and how many wrong calls were tried."""
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and (
                "-float32]" in report.nodeid or "wrong_calls" in report.nodeid
            ):
                counts.update(dict(report.user_properties))
    if counts["wrong calls"]:
        terminalreporter.write_line(f"{counts['wrong calls']} calls with an argument changed were held to the CPU's")
    if counts["samples"]:
        wholly, samples = counts["wholly on the device"], counts["samples"]
        terminalreporter.write_line(
            f"op_db, float32: {wholly} of {samples} samples ran wholly on the device ({wholly / samples:.1%})"
        )


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("TTREG_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("COLUMNS", raising=False)  # which readline has set for the processes that pytest starts


def _deny_network(event, arguments):
    """Refuse, in this process and those that it forks, what would leave the machine."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a text is a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and host not in _LOOPBACK and not host.startswith("127."):
        _REACHED.append(host)
        raise PermissionError(f"the tests have no network: {event} {host}")


sys.addaudithook(_deny_network)


@pytest.fixture(autouse=True)
def reached():
    """What of other machines the test has tried to reach, which is nothing."""
    _REACHED.clear()
    yield _REACHED
    assert not _REACHED, "this reaches for other machines"


@pytest.fixture
def device():
    """A block that has not been entered, in which the smallest input is worth an upload."""
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


@pytest.fixture
def watched(monkeypatch):
    """Lets a function see each ttnn call that lowerings make on the emulated device: name, arguments, and result.

    The device is opened anew, since one that was used before keeps the functions that it has found.
    """

    def watch(see) -> None:
        make = emulated_device.make_operation

        def make_seen(name, *rest):
            made = make(name, *rest)

            def call(*args, **kwargs):
                result = made(*args, **kwargs)
                see(name, args, kwargs, result)
                return result

            return call

        monkeypatch.setattr(emulated_device, "make_operation", make_seen)
        monkeypatch.setattr(devices, "_open", {})

    return watch


@pytest.fixture(params=PLACES)
def same_as_cpu(request):
    """Runs `program(tensor)` with a `tensor` that copies, and with one that puts on the device: they may not differ."""

    def check(program, raises: bool = False) -> None:
        if not raises:
            program(torch.clone)  # so that a broken program fails as one
        expected = outcome(program, torch.clone)
        assert raises == isinstance(expected, Exception)
        assert described(_RUNS[request.param](program)) == described(expected)

    return check


@pytest.fixture
def follows_cpu(device):
    """Runs `program(tensor)` with plain tensors, then on the device: numbers may differ by a few roundings."""

    def check(program) -> None:
        expected = program(torch.clone)
        with device as session:
            given = program(session.to_device)
        # A few training steps of a small model grow a rounding of 1e-7 by less than a thousand.
        torch.testing.assert_close(_as_plain(given), _as_plain(expected), rtol=1e-4, atol=1e-5)

    return check


@pytest.fixture
def private_op():
    """Defines an op in a namespace of our own, by schema and host implementation; its entry goes with the test."""

    def define(schema, function):
        name = schema.partition("(")[0]
        if name not in _HOST_FUNCTIONS:  # PyTorch has no op defined twice, not even after its library is gone
            _LIBRARY.define(schema)
            _LIBRARY.impl(
                name, lambda *args, **kwargs: _HOST_FUNCTIONS[name](*args, **kwargs), "CompositeExplicitAutograd"
            )
        _HOST_FUNCTIONS[name] = function
        op = getattr(torch.ops.ttreg_tests, name).default
        assert str(op._schema) == f"ttreg_tests::{schema}"
        return op

    yield define
    for op in [op for op in registry._entries if op.namespace == "ttreg_tests"]:
        registry._entries.pop(op)


@pytest.fixture
def scale(private_op):
    """`scale(Tensor self, Tensor factor) -> Tensor`, a product: an op of our own that the device runs."""

    op = private_op("scale(Tensor self, Tensor factor) -> Tensor", lambda self, factor: self * factor)

    @ttreg.lower(op, samples=list, takes=FLOATS)
    def scale(tt, self, factor):
        return tt.multiply(self, factor)

    return op


@pytest.fixture
def chip_for_workers(tmp_path_factory, monkeypatch):
    """Has the processes that `ttreg verify --values` starts load the stand-in for a chip, as a package with entries."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "stand_in_chip.py").write_text((Path(__file__).parent / "stand_in_chip.py").read_text())
    info = folder / "stand_in-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ttreg.ops]\nstand_in = stand_in_chip\n")
    len(registry)  # this process has no part in it
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(devices, "require_chip", lambda: None)


@pytest.fixture
def checked():
    """A block that compares every op."""
    return ttreg.device_mode(device="emulated", min_upload_numel=0, check=0.99)


@pytest.fixture
def replaced(monkeypatch):
    """Gives an aten op another lowering for the length of a test."""

    def replace(op, function, takes=FLOATS, **options):
        assert registry.find(op).op is op
        monkeypatch.setattr(registry, "_entries", {key: e for key, e in registry._entries.items() if key is not op})
        ttreg.lower(op, samples=list, takes=takes, **options)(function)

    return replace


def outcome(program, tensor):
    """What the program returns, or the exception that it raises."""
    try:
        return program(tensor)
    except Exception as error:
        return error


def described(value) -> str:
    """A text that is equal for equal outcomes: tensors as dtype, shape, strides and values, errors as type and text."""
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}".replace("DeviceTensor", "Tensor")
    return repr(tree_map_only(torch.Tensor, lambda t: (t.dtype, tuple(t.shape), t.stride(), t.tolist()), value))


def _as_plain(value):
    if isinstance(value, torch.Tensor):
        return torch.tensor(value.tolist(), dtype=value.dtype)
    if isinstance(value, dict):
        return {key: _as_plain(item) for key, item in value.items()}
    return [_as_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _inside(program, **settings):
    with ttreg.device_mode(device="emulated", **settings) as session:
        result = outcome(program, session.to_device)
        described(result)  # reads it inside the block too
        return result


def _in_another_thread(program):
    results = []
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        thread = threading.Thread(target=lambda: results.append(outcome(program, session.to_device)))
        thread.start()
        thread.join()
    return results[0]


def _after(program):
    def tensor(plain):
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            return session.to_device(plain)

    return outcome(program, tensor)


_RUNS = {
    "inside the block": lambda program: _inside(program, min_upload_numel=0),
    "inside, small inputs local": lambda program: _inside(program, min_upload_numel=1 << 20),
    "in another thread": _in_another_thread,
    "after the block": _after,
}
