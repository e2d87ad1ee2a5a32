"""What a terminal shows while weights go to the device and programs are compiled, and where nothing is shown."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ttreg
from ttreg import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(progress, "_SHORT", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def load(path, terminal, monkeypatch, **keywords):
    monkeypatch.setattr(sys, "stderr", terminal)  # not in the fixture: pytest puts its own there before the test
    net = nn.Sequential(nn.Linear(256, 256, bias=False), nn.Linear(256, 256, bias=False))
    save_file(net.state_dict(), path)
    with torch.no_grad(), ttreg.device_mode(device="emulated", **keywords) as session:
        ttreg.load(net, path)
        net(torch.ones(64, 256))
    return session


def test_a_terminal_shows_how_many_weights_have_gone_to_the_device(terminal, tmp_path, monkeypatch):
    load(tmp_path / "w.safetensors", terminal, monkeypatch)
    shown = terminal.getvalue()
    assert "weights to the device" in shown
    assert "512.0/512.0 KiB" in shown
    assert "programs" not in shown, "the emulated device compiles nothing"
    assert shown.endswith("\x1b[2K"), "what was shown stays there"


@pytest.mark.parametrize("reason", ["setting", "no terminal", "soon over"])
def test_nothing_is_shown_where_that_is_not_wanted_or_seen(reason, terminal, tmp_path, monkeypatch):
    if reason == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    if reason == "soon over":
        monkeypatch.setattr(progress, "_SHORT", 60.0)
    session = load(tmp_path / "w.safetensors", terminal, monkeypatch, progress=reason != "setting")
    assert not terminal.getvalue()
    assert (session.activity is None) == (reason != "soon over")


def test_programs_that_are_compiled_and_weights_are_counted_until_that_is_over(terminal, monkeypatch):
    monkeypatch.setattr(progress, "_OVER", 0.01)
    shown = progress.Activity()
    shown.programs(2)
    shown.weight(3 << 20)
    shown.programs(1)
    assert "3 new programs" in [task.description for task in shown._shown.tasks]
    shown._timer.join(10)
    assert shown._shown is None
    shown.programs(4)
    assert "4 new programs" in [task.description for task in shown._shown.tasks]
    shown.end()
