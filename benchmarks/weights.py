"""What it takes to load weights: memory of the host beside the mapped file, and time, with and without the cache.

Run `python benchmarks/weights.py`. A file of `--mib` MiB of float32 weights is loaded with `ttreg.load` into a model of
the meta device, which is then called once. Each load is in a process of its own, and the ways take turns: prepared
anew; the first time with an empty cache; and from the cache. The memory is what grows in anonymous pages while weights
are loaded, at most; pages of the mapped files are none of these.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save_file

import ttreg
from ttreg.bench.timing import machine

SIZE = 4096
LAYER_MIB = SIZE * SIZE * 4 >> 20
DEVICES = ("mock", "emulated")
DTYPES = ("float32", "bfloat16", "bfloat8_b")


def model(layers: int) -> torch.nn.Module:
    """Linear layers without biases or memory."""
    with torch.device("meta"):
        return torch.nn.Sequential(*[torch.nn.Linear(SIZE, SIZE, bias=False) for _ in range(layers)]).eval()


def write(folder: Path, layers: int) -> Path:
    """A safetensors file with random weights for the model."""
    path = folder / "model.safetensors"
    torch.manual_seed(0)
    save_file({f"{n}.weight": torch.randn(SIZE, SIZE).mul_(SIZE**-0.5) for n in range(layers)}, path)
    return path


class Watch:
    """Looks at the anonymous pages of this process again and again, until it is stopped."""

    def __init__(self) -> None:
        self.before = self.most = _anonymous()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(0.002):
            self.most = max(self.most, _anonymous())

    def stop(self) -> float:
        """How many MiB there were at most above those at the beginning."""
        self._stopped.set()
        self._thread.join()
        return (max(self.most, _anonymous()) - self.before) / 1024


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def measure(path: str, layers: int, device: str, dtype: str, cache: str) -> dict[str, float]:
    """Load the file in this process and call the model: seconds of both together, and MiB of memory of the load."""
    net = model(layers)
    with ttreg.device_mode(device=device, weight_cache=cache or None) as session, torch.no_grad():
        torch.ones(64, 64) @ torch.ones(64, 64)  # what a first call takes
        watch, start = Watch(), perf_counter()
        ttreg.load(net, path, dtypes={"*.weight": dtype})
        mib, loaded = watch.stop(), perf_counter() - start
        net(torch.ones(1, 32, SIZE))
        seconds = perf_counter() - start
        uploads = session.report().transfers.weight_uploads
    if uploads != layers:
        raise SystemExit(f"{uploads} weights were brought to the device, not {layers}")
    return {"seconds": seconds, "load_seconds": loaded, "mib": mib}


def in_a_process(path: Path, layers: int, device: str, dtype: str, cache: str) -> dict[str, float]:
    """As `measure`, in a new process."""
    words = [sys.executable, __file__, "--one", str(path), str(layers), device, dtype, cache]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compared(path: Path, folder: Path, layers: int, rounds: int, device: str, dtype: str) -> dict[str, Any]:
    """The medians of a device and dtype, and how much faster the cache is."""
    found: dict[str, list[dict[str, float]]] = {"anew": [], "first": [], "cached": []}
    for turn in range(rounds):
        cache = str(folder / f"cache-{device}-{dtype}-{turn}")
        found["anew"].append(in_a_process(path, layers, device, dtype, ""))
        found["first"].append(in_a_process(path, layers, device, dtype, cache))
        found["cached"].append(in_a_process(path, layers, device, dtype, cache))
        subprocess.run(["rm", "-r", "-f", cache], check=True)
    row: dict[str, Any] = {way: statistics.median(each["seconds"] for each in runs) for way, runs in found.items()}
    row["mib"] = {way: max(each["mib"] for each in runs) for way, runs in found.items()}
    return {**row, "faster": row["anew"] / row["cached"]}


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=list(DEVICES), choices=DEVICES)
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    layers = max(options.mib // LAYER_MIB, 1)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as made:
        folder = Path(made)
        path = write(folder, layers)
        for device in options.devices:
            for dtype in options.dtypes:
                row = compared(path, folder, layers, options.rounds, device, dtype)
                rows[f"{device}, {dtype}"] = row
                print(
                    f"{device:9} {dtype:10} anew {row['anew']:6.2f} s, first {row['first']:6.2f} s, cached "
                    f"{row['cached']:6.2f} s, {row['faster']:5.1f} times faster, {max(row['mib'].values()):4.0f} MiB",
                    file=sys.stderr,
                )
    if options.json:
        print(json.dumps({"machine": machine(), "mib": layers * LAYER_MIB, "loads": rows}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        path, layers, device, dtype, cache = sys.argv[2:]
        print(json.dumps(measure(path, int(layers), device, dtype, cache)))
    else:
        main()
