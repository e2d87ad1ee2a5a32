"""Writes constraints.txt: one version of everything ttreg and its extras need, for each supported CPython.

And constraints-oldest.txt: the same for CPython 3.10, but with the oldest torch and ttnn that pyproject.toml allows.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST = ROOT / "constraints-oldest.txt"
HEADER = "# Pinned versions, written by `make lock` (`make lock UPGRADE=1` takes the newest).\n"
HEADER_OF_OLDEST = (
    "# What `make test-oldest` installs, written by `make lock`: constraints.txt with the oldest torch and ttnn.\n"
)
# Not resolved with the rest, because its own pins are old: see the extra "models" in pyproject.toml.
ALONE = ["facenet-pytorch==2.6.0"]
FOR_310, FOR_312 = " ; python_version < '3.11'", " ; python_version > '3.11'"


def compile_pins(output: Path, *options: str) -> list[str]:
    """Resolve once for both versions; pins that the file already has are kept unless upgrading."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--all-extras"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--python-version", "3.10", "--output-file", str(output), *options, "pyproject.toml"]
    subprocess.run(command, cwd=ROOT, check=True)
    return sorted({*map(shorten, output.read_text().splitlines()), *ALONE})


def shorten(pin: str) -> str:
    """Keep of a pin's marker only which of the two CPythons it is for."""
    requirement, _, marker = pin.partition(" ; ")
    for_310, for_312 = "< '3.11'" in marker, "== '3.12.*'" in marker
    if for_310 == for_312:
        return requirement
    return requirement + (FOR_310 if for_310 else FOR_312)


def compile_oldest(pins: list[str]) -> list[str]:
    """Resolve with the oldest torch and ttnn; all else as pinned already where it fits to them."""
    oldest = re.findall(r'^    "((?:torch|ttnn)>=[\d.]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        constraints, output = Path(folder, "oldest.txt"), Path(folder, "pins.txt")
        constraints.write_text("\n".join(lower.replace(">=", "==") for lower in oldest))
        output.write_text("\n".join(pin for pin in pins if not pin.startswith(("torch==", "ttnn=="))))
        resolved = compile_pins(output, "--constraint", str(constraints))
    return [pin.removesuffix(FOR_310) for pin in resolved if not pin.endswith(FOR_312)]


if __name__ == "__main__":
    pins = compile_pins(CONSTRAINTS, *["--upgrade"] * ("--upgrade" in sys.argv))
    CONSTRAINTS.write_text(HEADER + "\n".join(pins) + "\n")
    OLDEST.write_text(HEADER_OF_OLDEST + "\n".join(compile_oldest(pins)) + "\n")
