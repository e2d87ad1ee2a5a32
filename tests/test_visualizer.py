"""The report for ttnn-visualizer: what its database has of a program, read as SQL."""

from __future__ import annotations

import sqlite3

import pytest
import torch
from torch import nn
from ttnn.graph_report import DATABASE_SCHEMA_VERSION

import ttreg


def block(folder, **keywords):
    return ttreg.device_mode(device="emulated", validate=True, visualizer=folder, **keywords)


def read(folder, query):
    with sqlite3.connect(folder / "db.sqlite") as database:
        return database.execute(query).fetchall()


def test_the_database_has_calls_tensors_buffers_and_lines_of_the_program(tmp_path, capfd):
    net, x = nn.Sequential(nn.Linear(64, 64), nn.Softmax(-1)), torch.rand(64, 64)
    with block(tmp_path), torch.no_grad():
        found = net(x)
        total = found.sum()
    torch.testing.assert_close(total, torch.tensor(64.0), rtol=1e-3, atol=0)
    assert [path.name for path in tmp_path.glob("graph*")] == []
    assert read(tmp_path, "SELECT value FROM report_metadata WHERE key = 'schema_version'") == [
        (DATABASE_SCHEMA_VERSION,)
    ]
    names = [name for (name,) in read(tmp_path, "SELECT name FROM operations ORDER BY operation_id")]
    assert [name for name in names if name not in ("ttnn.from_torch", "ttnn.to_torch")] == [
        "ttnn.linear",
        "ttnn.softmax",
        "ttnn.sum",
    ]
    lines = read(
        tmp_path,
        "SELECT name, stack_trace FROM stack_traces JOIN operations USING (operation_id) WHERE name = 'ttnn.softmax'",
    )
    assert __file__ in lines[0][1]
    assert "found = net(x)" in lines[0][1]
    assert "/torch/" not in lines[0][1]
    shapes = read(
        tmp_path,
        "SELECT shape FROM tensors JOIN output_tensors USING (tensor_id) JOIN operations USING (operation_id)"
        " WHERE name = 'ttnn.softmax'",
    )
    assert shapes == [("Shape([64, 64])",)]
    assert read(tmp_path, "SELECT count(*) FROM buffers WHERE address > 0")[0][0] > 2
    assert not capfd.readouterr().err


def test_a_later_report_replaces_the_first(tmp_path):
    for function, name in ((torch.relu, "ttnn.relu"), (torch.tanh, "ttnn.tanh")):
        with block(tmp_path):
            function(torch.rand(64, 64)).tolist()
        assert {"ttnn.relu", "ttnn.tanh"} & {name for (name,) in read(tmp_path, "SELECT name FROM operations")} == {
            name
        }


def test_what_cannot_be_written_is_told_and_the_next_report_is(tmp_path):
    with pytest.raises(ttreg.SettingsError, match="needs calls of ttnn"):
        ttreg.device_mode(device="emulated", visualizer=tmp_path).__enter__()
    (tmp_path / "file").write_text("")
    with pytest.raises(ttreg.SettingsError, match="cannot be written to"):
        block(tmp_path / "file").__enter__()
    with block(tmp_path), pytest.raises(ttreg.SettingsError, match="another session of this process"):
        block(tmp_path / "other").__enter__()
    with pytest.raises(ZeroDivisionError), block(tmp_path / "third"):
        _ = torch.relu(torch.rand(64, 64)) + 1 // 0
    assert read(tmp_path / "third", "SELECT count(*) FROM operations") != [(0,)]
