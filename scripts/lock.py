"""Writes constraints.txt: one version of everything ttreg and its extras need, for each supported CPython."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
HEADER = "# Pinned versions, written by `make lock` (`make lock UPGRADE=1` takes the newest).\n"
# Not resolved with the rest, because its own pins are old: see the extra "models" in pyproject.toml.
ALONE = ["facenet-pytorch==2.6.0"]


def compile_pins(upgrade: bool) -> list[str]:
    """Resolve once for both versions; pins that constraints.txt already has are kept unless upgrading."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--all-extras"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--python-version", "3.10", "--output-file", str(CONSTRAINTS), "pyproject.toml"]
    subprocess.run(command + ["--upgrade"] * upgrade, cwd=ROOT, check=True)
    return CONSTRAINTS.read_text().splitlines()


def shorten(pin: str) -> str:
    """Keep of a pin's marker only which of the two CPythons it is for."""
    requirement, _, marker = pin.partition(" ; ")
    for_310, for_312 = "< '3.11'" in marker, "== '3.12.*'" in marker
    if for_310 == for_312:
        return requirement
    return f"{requirement} ; python_version {'<' if for_310 else '>'} '3.11'"


if __name__ == "__main__":
    pins = compile_pins(upgrade="--upgrade" in sys.argv)
    CONSTRAINTS.write_text(HEADER + "\n".join(sorted({*map(shorten, pins), *ALONE})) + "\n")
