"""What an op costs on tt-symbiote's tensors, which take a call back to PyTorch: run by overhead.py, never by itself.

Its first argument is the folder of packages to take torch, ttnn and ttreg from; then come rounds, calls and ops.
"""

from __future__ import annotations

import json
import runpy
import site
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path


def main() -> None:
    """Print the microseconds of each op as a JSON object; null for one that fails."""
    site.addsitedir(sys.argv[1])
    rounds, calls, ops = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    import torch
    from tt_symbiote.core.tensor import TorchTTNNTensor

    from ttreg.bench.timing import Way, interleaved, pinned

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # it says of each op that it goes to PyTorch
    known = runpy.run_path(str(Path(__file__).with_name("overhead.py")))["cases"]()
    found: dict[str, float | None] = {}
    for name in ops:
        case = known[name]
        given = (*map(TorchTTNNTensor, case.inputs), *case.parameters)
        way = Way(case.call, partial(tuple, given))
        try:
            with torch.no_grad(), pinned():
                seconds = interleaved({"symbiote": way}, rounds, calls)["symbiote"]
        except (RecursionError, RuntimeError, TypeError):
            found[name] = None
        else:
            found[name] = statistics.median(seconds) * 1e6
    print(json.dumps(found))


if __name__ == "__main__":
    main()
