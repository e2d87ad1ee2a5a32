"""docs/reliability.md says what the sweeps have found, and nothing else."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_has_what_the_results_say():
    written = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))
    assert (ROOT / "docs" / "reliability.md").read_text() == written["page"](written["results"]())


def test_each_promise_on_the_page_is_kept():
    written = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))
    assert [row for one in written["results"]() for row in one["promises"] if not row["kept"]] == []


def test_a_file_of_results_becomes_a_section(tmp_path):
    written = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))
    promises = [{"promise": "No traceback", "figure": "0 of 7", "kept": True}]
    rows = [{"what": "a|b", "inputs": 7000}]
    made = {"title": "Bad input", "command": "make fuzz", "about": "Texts.", "when": "2026-11-29", "seconds": 3.2}
    made |= {"promises": promises, "tables": [{"title": "By parser", "rows": rows}]}
    written["save"]("fuzz", made, tmp_path)
    written["save"]("another", {**made, "title": "More"}, tmp_path)
    page = written["page"](written["results"](tmp_path))
    assert page.index("## Bad input") < page.index("## More")
    assert "| No traceback | 0 of 7 | yes |" in page
    assert "| a\\|b | 7,000 |" in page
    assert "`make fuzz`, measured on 2026-11-29 in 3 s." in page
