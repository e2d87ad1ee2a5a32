"""A trace that cannot be written: said before a device opens, or the trace ends and the program goes on."""

from __future__ import annotations

import errno
import fcntl
import json

import pytest
import torch

import ttreg
from ttreg import SettingsError
from ttreg.tracing import trace_file

X = torch.arange(12.0).reshape(3, 4) / 4


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.json"


@pytest.fixture
def traced(path):
    return lambda **keywords: ttreg.device_mode(
        **({"device": "emulated", "min_upload_numel": 0, "trace": path} | keywords)
    )


def test_a_file_that_another_process_is_writing_is_refused(traced, path):
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("theirs")
        with pytest.raises(SettingsError, match="another process is writing to it"), traced():
            pass
    assert path.read_text() == "theirs"


def test_a_file_system_without_locks_will_do(traced, path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(trace_file.fcntl, "flock", no_locks)
    with traced():
        torch.relu(X)
    assert json.loads(path.read_text())[-1]["name"] == "aten.relu.default"


@pytest.mark.parametrize("name", ["", "no/such/folder/t.json"])
def test_a_path_that_cannot_be_written_is_refused_before_a_device_opens(tmp_path, monkeypatch, name):
    monkeypatch.setattr("ttreg.blocks.mode.open_device", lambda settings: pytest.fail("a device was opened"))
    with (
        pytest.raises(SettingsError, match=r"trace is .* cannot be written") as caught,
        ttreg.device_mode(trace=tmp_path / name),
    ):
        pass
    assert str(tmp_path / name) in str(caught.value)


def test_a_full_disk_ends_the_trace_and_nothing_else(traced, path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with traced():
        monkeypatch.setattr(trace_file.os, "pwrite", full)
        assert torch.relu(X).tolist() == X.tolist()
        monkeypatch.undo()
        torch.sigmoid(X)
    assert caplog.text.count("the trace") == 1
    assert json.loads(path.read_text())
