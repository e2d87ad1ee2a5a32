"""A hundred images of different sizes through a detector: whether time per image and memory grow.

Run `python benchmarks/varying_sizes.py`, or with `--json`. Each image goes through the emulated device and
through plain PyTorch on CPU, in turn. A figure is the median over ten images of the ratio of their processor times. New
sizes cost decisions. The last images repeat earlier sizes with other content.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import thread_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import ttreg

DETECTORS = ("yolo", "ssdlite", "retinanet", "faster_rcnn", "mask_rcnn", "keypoint_rcnn", "ssd")
ENDS = 10  # images whose median stands for the first, and for the last


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", choices=DETECTORS, default="ssdlite")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    figures = measure(options.detector, options.images)
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("what", "figure", title=f"{options.images} sizes through {options.detector}")
    for name, figure in figures.items():
        table.add_row(name.replace("_", " "), f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}")
    Console().print(table)


def measure(detector: str, count: int) -> dict[str, Any]:
    """All figures by name, with their units."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    detectors = importlib.import_module("seeded.detectors")
    model, _ = detectors.seeded(detector)
    generator = torch.Generator().manual_seed(0)
    sizes = [(h, w) for h, w in torch.randint(70, 200, (count, 2), generator=generator).tolist()]
    warm_up, *images = [detectors.picture(*size) for size in [(64, 64), *sizes]]
    again = [detectors.picture(*size, seed=1) for size in sizes[-ENDS:]]
    ratios, first_level = [], {}
    # The block is this thread's; another one is outside it.
    with ttreg.device_mode(device="emulated") as session, ThreadPoolExecutor(1) as outside:

        def ratio(image: torch.Tensor) -> float:
            """Seconds on the device over seconds on plain CPU."""
            return seconds(model, image) / outside.submit(seconds, model, image).result()

        ratio(warm_up)
        images.reverse()
        while images:
            ratios.append(ratio(images.pop()))
            if len(ratios) == ENDS:
                first_level = held(session)
        last_level = held(session)
        plans = len(session.ledger._plans)
        repeated = [ratio(image) for image in again]
        new_plans = len(session.ledger._plans) - plans
    first, last = statistics.median(ratios[:ENDS]), statistics.median(ratios[-ENDS:])
    return {
        "device_over_cpu_first_images": first,
        "device_over_cpu_last_images": last,
        "last_over_first": last / first,
        "device_over_cpu_sizes_that_come_back": statistics.median(repeated),
        **{f"{name}_after_{ENDS}": figure for name, figure in first_level.items()},
        **{f"{name}_after_{count}": figure for name, figure in last_level.items()},
        "plans": plans,
        "new_plans_for_sizes_that_come_back": new_plans,
    }


def seconds(model: Any, image: torch.Tensor) -> float:
    """Processor time that one image takes, to the values of its boxes: all of it is in this thread."""
    start = thread_time()
    with torch.no_grad():
        for found in model([image])[0].values():
            found.tolist()
    return thread_time() - start


def held(session: ttreg.Session) -> dict[str, Any]:
    """What the process and the session hold."""
    gc.collect()
    with open("/proc/self/statm") as pages:
        resident = int(pages.read().split()[1]) * resource.getpagesize()
    return {
        "resident_MiB": resident / 2**20,
        "tensors_of_the_device": len(session.live()),
        "storages_with_uploads": len(session.uploads._storages),
    }


if __name__ == "__main__":
    main()
