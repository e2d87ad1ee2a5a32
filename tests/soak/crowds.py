"""Many threads, many processes and many sessions at once, each with work of its own whose result is known."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

import ttreg

from .programs import OPTIONS

PATIENCE = 300  # seconds after which what does not end counts as a deadlock
Work = Callable[[int], bool]


def work(number: int, session: ttreg.Session, steps: int) -> bool:
    """A little model, a state written in place and a view of it; whether all is as on CPU. Each number has its own."""
    generator = torch.Generator().manual_seed(number)
    weight, x = torch.randn(24, 24, generator=generator) / 8, torch.randn(5 + number % 7, 24, generator=generator)
    state, result = session.to_device(torch.full((4, 6), float(number))), session.to_device(x)
    turned = state.t()
    for step in range(steps):
        result = F.gelu(result @ weight).softmax(-1) + number
        state.add_(1)
        turned[step % 6].mul_(1)
        if step % 5 == 0:
            session.to_device(x).double().sum().item()
    right = state.tolist() == [[float(number + steps)] * 6] * 4
    results = [torch.tensor(result.tolist())]
    other = threading.Thread(target=lambda: results.append(_on_cpu(weight, x, number, steps)))  # in no block
    other.start()
    other.join()
    return right and torch.allclose(results[0], results[1], rtol=2e-2, atol=2e-2)


def _on_cpu(weight: torch.Tensor, x: torch.Tensor, number: int, steps: int) -> torch.Tensor:
    for _ in range(steps):
        x = F.gelu(x @ weight).softmax(-1) + number
    return x


def in_threads(count: int, steps: int, shared: bool) -> dict[str, Any]:
    """So many threads at once, in blocks of one session or each in a session of its own."""
    one = ttreg.device_mode(**OPTIONS)
    together = threading.Barrier(count)

    def run(number: int) -> bool:
        with torch.no_grad(), one if shared else ttreg.device_mode(**OPTIONS) as session:
            together.wait(PATIENCE)
            return work(number, session, steps)

    return _ended([partial(run, n) for n in range(count)])


def _ended(runs: list[Callable[[], bool]]) -> dict[str, Any]:
    """How many of these threads came to the right result, and how many did not end at all."""
    pool, end = ThreadPoolExecutor(len(runs)), time.monotonic() + PATIENCE
    futures = [pool.submit(run) for run in runs]
    right = wrong = stuck = 0
    for future in futures:
        try:
            ok = future.result(max(0.1, end - time.monotonic()))
        except TimeoutError:
            stuck += 1
        except Exception as error:
            print(f"a thread raised {error!r}")
            wrong += 1
        else:
            right, wrong = right + ok, wrong + (not ok)
    pool.shutdown(wait=not stuck)
    return {"right": right, "wrong": wrong, "stuck": stuck}


def _of_process(number: int, steps: int, results: Any) -> None:
    torch.set_num_threads(1)
    with torch.no_grad(), ttreg.device_mode(**OPTIONS) as session:
        right = work(number, session, steps)
    results.put((number, right))


def in_processes(count: int, steps: int, method: str = "spawn") -> dict[str, Any]:
    """So many processes at once, each with a session."""
    context: Any = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    processes = [context.Process(target=_of_process, args=(n, steps, results)) for n in range(count)]
    for process in processes:
        process.start()
    end = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.1, end - time.monotonic()))
    stuck = [process for process in processes if process.is_alive()]
    for process in stuck:
        process.kill()
    found = dict(results.get() for _ in processes if not results.empty())
    right = sum(found.values())
    return {"right": right, "wrong": count - right - len(stuck), "stuck": len(stuck)}


def _child(tensor: Any, results: Any) -> None:
    """Use a tensor of the parent's, then open a session of one's own."""
    torch.set_num_threads(1)
    try:
        used = (tensor + 1).tolist()
    except ttreg.DeviceError as error:
        used = "DeviceError" if "forked from one that has the device open" in str(error) else str(error)
    with torch.no_grad(), ttreg.device_mode(**OPTIONS) as session:
        right = work(7, session, 3)
    results.put((used, right))


def after_a_session(method: str) -> dict[str, Any]:
    """A child process that is started inside a block, and is given a tensor of it; the parent goes on meanwhile.

    Where the method copies the tensor, its content goes along; a forked child cannot have what only the device holds.
    """
    context: Any = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    with torch.no_grad(), ttreg.device_mode(**OPTIONS) as session:
        tensor = session.to_device(torch.arange(6.0)) * 2
        process = context.Process(target=_child, args=(tensor, results))
        process.start()
        parent = work(3, session, 3)
        process.join(PATIENCE)
        stuck = process.is_alive()
        if stuck:
            process.kill()
        used, child = ("nothing", False) if results.empty() else results.get()
        wanted = "DeviceError" if method == "fork" else (torch.arange(6.0) * 2 + 1).tolist()
        afterwards = tensor.tolist() == (torch.arange(6.0) * 2).tolist() and work(4, session, 3)
    return {
        "method": method,
        "the parent's tensor in the child": _said(used, wanted),
        "the child's own session": _right(child),
        "the parent goes on": _right(parent and afterwards),
        "ends": not stuck,
    }


def _said(used: Any, wanted: Any) -> str:
    return f"wrong: {used}" if used != wanted else used if isinstance(used, str) else "right"


def _right(whether: bool) -> str:
    return "right" if whether else "wrong"
