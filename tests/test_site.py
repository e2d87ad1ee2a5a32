"""The pages of the site: all are in its table of contents, their links lead somewhere, and what they show is run."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ttnn
import yaml  # type: ignore[import-untyped]
from safetensors.torch import save_file
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.report import read_report

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
QUESTIONS = dict(re.findall(r"^\| ([^|]*\?) \| `([^`]*)` \|", (DOCS / "questions.md").read_text(), re.MULTILINE))
HELP = "`ttreg report --by` needs a report of a traced program: `(.*)`."


MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, x):
        return torch.special.bessel_j0(self.body(x))


def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.rand(64, 64) - 0.5,)


if __name__ == "__main__":
    model, inputs = make()
    with torch.no_grad():
        model(*inputs).sum().item()
"""


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(command, folder):
    """A command of ttreg in a process of its own, which sees the folder's modules."""
    program, *arguments = shlex.split(command)
    assert program == "ttreg"
    call = [sys.executable, "-m", "ttreg", *arguments]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


def named(entries):
    for entry in entries:
        (value,) = entry.values()
        yield from named(value) if isinstance(value, list) else [value]


def test_the_site_names_every_page_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(named(site["nav"])) == [page.name for page in PAGES]


def test_the_site_shows_cells_as_they_are_written():
    """The extension attr_list takes "{bfloat16, float32}" at the end of a cell for attributes. Words stay whole."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert "attr_list" not in site["markdown_extensions"]
    (hooks,) = site["hooks"]
    made = runpy.run_path(str(ROOT / hooks))["on_page_content"]
    cell = "<td><code>ttreg new-op lerp</code></td>"
    assert made(f"<code>new-op</code>{cell}") == f"<code>new-op</code>{cell.replace('new-op', '<span>new-op</span>')}"


def test_the_reference_has_every_public_name():
    page = (DOCS / "api.md").read_text()
    shown = set(re.findall(r"(?:::: |heading: |`)ttreg\.(\w+)", page))
    assert set(ttreg.__all__) - {name for name in ttreg.__all__ if name.endswith("Error")} <= shown
    assert "::: ttreg.errors" in page


def prose(page):
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_to_a_page_and_to_a_heading_on_it(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", re.sub(r"(`+).*?\1", "", prose(page))):
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def test_the_programs_of_the_start_page_run(capsys):
    for program in blocks((DOCS / "index.md").read_text(), "python"):
        exec(program, {})
    assert "aten.gelu.default" in capsys.readouterr().out


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A folder with the model and the script that the questions name."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "model.py").write_text(MODEL)
    (folder / "script.py").write_text(MODEL)
    (help_,) = re.findall(HELP, (DOCS / "questions.md").read_text())
    assert run(help_, folder).returncode == 0
    (folder / "today.json").write_bytes((folder / "report.json").read_bytes())
    return folder


TOLD = {
    "Does it run?": "aten.special_bessel_j0.default",
    "Why not?": "PyTorch accumulates integers in int64",
    "What would it take?": "ttnn calls",
    "What did it cost?": "ttnn calls",
    "Where in my model?": "body",
    "Did it get worse?": "ran before",
    "Is it right?": "aten.special_bessel_j0.default",
    "Where does it lose accuracy?": "the error",
    "How do I add an op?": "@lower(",
}


@pytest.mark.parametrize("question", TOLD)
def test_a_question_is_answered_by_its_command(question, asked, monkeypatch):
    monkeypatch.chdir(asked)
    program, name, *arguments = shlex.split(QUESTIONS[question])
    assert program == "ttreg"
    if name == "run":  # a program replaces `__main__`, so it has a process; its report goes to a file of its own
        done = run(QUESTIONS[question].replace("--report report.json", "--report own.json"), asked)
        output, code = done.stdout + done.stderr, done.returncode
    else:
        result = CliRunner().invoke(cli.app, [name, *arguments])
        output, code = result.output, result.exit_code
    assert code == (1 if question == "Why not?" else 0), output  # 1 says no: the host runs it
    assert TOLD[question] in output


def test_many_ranks_have_a_report_each(asked):
    command = shlex.split(QUESTIONS["How do I run on many ranks?"])
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, cwd=asked, env={**os.environ, "PATH": places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [read_report(asked / f"rank{number}.json").rank.rank for number in (0, 1)] == [0, 1]


def test_a_question_is_answered_by_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(64, 64)
    save_file(torch.nn.Linear(64, 64).state_dict(), "model.safetensors")
    names = {"ttreg": ttreg, "ttnn": ttnn, "model": model, "x": torch.rand(64, 64) - 0.5}
    with ttreg.device_mode(device="emulated") as session, torch.no_grad():
        names["session"] = session
        exec(QUESTIONS["How do I use ttnn directly?"], names)
        assert torch.equal(names["y"], names["x"].relu())
        exec(QUESTIONS["How do I override an op?"], names)
        torch.nn.functional.gelu(session.to_device(names["x"]))
        exec(QUESTIONS["How do I record a step?"], names)
        for _ in range(3):
            assert torch.allclose(names["step"](names["x"]), model(names["x"]))
        before = model.weight.clone()
        exec(QUESTIONS["How do I load weights?"], names)
        assert not torch.equal(model.weight, before)
        assert torch.allclose(model(names["x"]), model.cpu()(names["x"]), atol=0.05)
    report = session.report()
    (row,) = report.recorded
    assert row.replays
    assert [row.placement for row in report.ops if row.op == "aten.gelu.default"] == ["host"]


def test_every_question_is_asked_here():
    in_a_block = {
        f"How do I {what}?" for what in ("override an op", "use ttnn directly", "record a step", "load weights")
    }
    assert set(QUESTIONS) == {*TOLD, *in_a_block, "How do I run on many ranks?"}
    assert len(QUESTIONS) == 14
