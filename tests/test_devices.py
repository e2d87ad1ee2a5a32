"""Opening a device: what is told to someone whose machine lacks the chip, ttnn, or a Python that ttnn runs on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections import namedtuple
from threading import RLock
from types import SimpleNamespace

import pytest
import torch

import ttreg
from ttreg import DeviceUnavailableError, devices


@pytest.fixture(autouse=True)
def _nothing_open(monkeypatch):
    monkeypatch.setattr(devices, "_open", {})
    monkeypatch.setattr(devices, "chip_present", lambda: False)


def refusal(**keywords) -> str:
    """What entering a block says; no mode may be left behind."""
    with pytest.raises(DeviceUnavailableError) as caught, ttreg.device_mode(**keywords):
        pass
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_chip_is_said_with_what_can_be_done():
    message = refusal(device="ttnn")
    assert 'device="ttnn" needs a Tenstorrent chip' in message
    for way_out in ("tt-kmd", "TT_METAL_SIMULATOR", 'device="emulated"'):
        assert way_out in message


def test_auto_takes_the_emulated_device_where_there_is_no_chip():
    with ttreg.device_mode() as session:
        pass
    assert session.report().device.name == "emulated"


def test_auto_takes_the_chip_where_there_is_one(monkeypatch):
    opened = []
    chip = SimpleNamespace(name="chip", arch="blackhole", ttnn_version="", validated=False, lock=RLock())
    monkeypatch.setattr(devices, "chip_present", lambda: True)
    monkeypatch.setattr(
        "ttreg.devices.chip.open_chip", lambda settings, version: opened.append((settings.device_id, version)) or chip
    )
    with ttreg.device_mode(device_id=3):
        pass
    assert opened == [(3, importlib.metadata.version("ttnn"))]


def test_a_simulator_counts_as_a_chip(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("TT_METAL_SIMULATOR", "/somewhere")
    assert devices.chip_present()


def without_ttnn(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ttnn" else find_spec(name, *a))


def test_a_missing_ttnn_is_said_with_the_command_that_installs_it(monkeypatch):
    without_ttnn(monkeypatch)
    assert refusal(device="emulated") == "ttnn is not installed: pip install ttnn==0.81.1"
    assert "pip install ttnn==0.81.1" in refusal(device="auto")


VersionInfo = namedtuple("VersionInfo", "major minor micro releaselevel serial")


@pytest.mark.parametrize("minor", [9, 11, 13, 14])
def test_an_unsupported_python_is_said_with_the_supported_ones(monkeypatch, minor):
    without_ttnn(monkeypatch)
    monkeypatch.setattr(sys, "version_info", VersionInfo(3, minor, 2, "final", 0))
    monkeypatch.setattr("platform.python_version", lambda: f"3.{minor}.2")
    assert refusal(device="emulated") == f"ttnn has no wheel for Python 3.{minor}.2: use CPython 3.12 or 3.10"


@pytest.mark.parametrize("version", ["0.70.0", "0.81.0", "0.81.1.dev3"])
def test_an_older_ttnn_is_said_with_the_tested_one(monkeypatch, version):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "ttnn" else real(name))
    message = refusal(device="emulated")
    assert f"ttnn {version} is installed" in message
    assert "pip install 'ttnn>=0.81.1,<0.81.2'" in message


def test_a_chip_that_ttnn_cannot_open_is_told_in_ttnns_words(monkeypatch):
    import ttnn

    def refuse(**options):
        raise RuntimeError("TT_THROW @ device.cpp:12\ninfo:\nno such chip\nbacktrace:\n --- frame")

    monkeypatch.setattr(devices, "chip_present", lambda: True)
    monkeypatch.setattr(ttnn, "open_device", refuse)
    message = refusal(device="ttnn", device_id=7)
    assert "chip 7" in message
    assert "no such chip" in message
    assert "frame" not in message


def test_a_failed_opening_can_be_tried_again(monkeypatch):
    block = ttreg.device_mode(device="emulated")
    with monkeypatch.context() as patch:
        without_ttnn(patch)
        with pytest.raises(DeviceUnavailableError), block:
            pass
    with block as session:
        assert session.report().device.name == "emulated"


def test_sessions_share_a_device_of_one_kind_and_not_of_another_arch():
    def opened(**keywords):
        with ttreg.device_mode(device="emulated", **keywords) as session:
            return session

    assert opened().device is opened().device
    assert opened().device is not opened(arch="blackhole").device
    assert opened(arch="blackhole").report().device.arch == "blackhole"


def test_users_logging_settings_are_kept(monkeypatch):
    monkeypatch.setenv("LOGURU_LEVEL", "INFO")
    with ttreg.device_mode(device="emulated"):
        pass
    import os

    assert os.environ["LOGURU_LEVEL"] == "INFO"
