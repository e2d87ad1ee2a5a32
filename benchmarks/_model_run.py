"""Runs one model on CPU and on the device, forward or a step of training, and says what went where."""

from __future__ import annotations

import copy
import dataclasses
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from _zoo import Row, build, inputs

from ttreg import device_mode
from ttreg.checking.compare import pcc
from ttreg.pytorch_private import tree_map_only
from ttreg.report import Report

LIMIT = 0.99

# A gradient that only rounding makes (of a bias before a norm) has no PCC to speak of. The device's is accepted if it
# is, at most, so many times as far from the exact one as CPU's.
_AS_GOOD = 4


def measured(row: Row, validate: bool) -> dict[str, Any]:
    """The figures of one model, in this process."""
    start = time.monotonic()
    torch.set_num_threads(1)
    model = build(row)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cpus, given = copy.deepcopy(model), [inputs(row, number) for number in (0, 1)]
    wanted = compared(row, cpus, given[0])
    optimizer = optimizer_of(row, model)
    with device_mode(device="emulated", validate=validate) as session:
        found = read(compared(row, model, given[0]))
        gradients = gradients_of(model)
        first = session.report()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            before = session.report()  # a step that is not warm yet is not counted
        else:
            before = first
        read(stepped(row, model, given[1]))
        if optimizer is not None:
            optimizer.step()
        second = session.report()
        gradients = dict(zip(gradients, read(list(gradients.values())), strict=True))
    said = counted(before, second) | {
        "parameters": parameters,
        "inputs": len(list(tensors(given[0]))),
        "outputs": len(found),
        "output_pcc": worst(found, read(wanted)),
    }
    if row.mode == "train":
        said |= held(row, gradients, gradients_of(cpus))
    said["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said["seconds"] = round(time.monotonic() - start, 1)
    return said


def compared(row: Row, model: torch.nn.Module, given: dict[str, Any]) -> list[torch.Tensor]:
    """The outputs of a step; in eval those of the part that is to be compared, as the logits of a detector are."""
    seen: list[torch.Tensor] = []
    part = model.get_submodule(row.compared if row.mode == "eval" else "")
    hook = part.register_forward_hook(lambda module, inputs, made: seen.extend(tensors(made)))
    made = stepped(row, model, given)
    hook.remove()
    return seen if row.compared and row.mode == "eval" else made


def stepped(row: Row, model: torch.nn.Module, given: dict[str, Any]) -> list[torch.Tensor]:
    """The outputs of a forward; in training also its backward, and then the loss alone."""
    torch.manual_seed(0)  # for dropout
    placed = [given[name] for name in sorted(name for name in given if name.isdigit())]
    named = {name: value for name, value in given.items() if not name.isdigit() and name != "classes"}
    with torch.set_grad_enabled(row.mode == "train"):
        made = model(*placed, **named)
        if row.mode == "eval":
            return list(tensors(made))
        loss = loss_of(row, made, given.get("classes"))
        loss.backward()
    return [loss]


def loss_of(row: Row, made: Any, classes: torch.Tensor | None) -> torch.Tensor:
    """What is made small: the model's own loss, classes told apart, or the squares of what it returns."""
    own = made.get("loss") if isinstance(made, Mapping) else None
    if isinstance(own, torch.Tensor):
        return own
    if row.constructor.startswith("detection."):  # a loss for each part
        return torch.stack([loss.sum() for loss in made.values()]).sum()
    results = [result for result in tensors(made) if result.is_floating_point() and result.requires_grad]
    if classes is not None:
        return torch.nn.functional.cross_entropy(results[0], classes)
    return torch.stack([torch.nn.functional.mse_loss(result, torch.ones_like(result)) for result in results]).sum()


def optimizer_of(row: Row, model: torch.nn.Module) -> torch.optim.Optimizer | None:
    """What takes the step of training."""
    if row.mode == "eval":
        return None
    if row.table == "current":
        return torch.optim.AdamW(model.parameters(), lr=1e-3)
    return torch.optim.SGD(model.parameters(), lr=1e-2)


def tensors(made: Any) -> Iterator[torch.Tensor]:
    """The tensors that a model returns, or is given."""
    if isinstance(made, torch.Tensor):
        yield made
    elif dataclasses.is_dataclass(made) and not isinstance(made, Mapping):
        for part in dataclasses.fields(made):
            yield from tensors(getattr(made, part.name))
    elif isinstance(made, (Mapping, list, tuple)):
        for item in made.values() if isinstance(made, Mapping) else made:
            yield from tensors(item)


def read(results: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies on the host, as a program reads its results."""
    return [torch.from_numpy(result.detach().numpy().copy()) for result in results]


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients, by the names of the parameters."""
    return {name: p.grad.detach() for name, p in model.named_parameters() if p.grad is not None}


def worst(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    """The least PCC of the outputs; 0.0 if they are others."""
    if [result.shape for result in found] != [result.shape for result in wanted]:
        return 0.0
    return min((round(pcc(a, b), 6) for a, b in zip(found, wanted, strict=True)), default=1.0)


def held(row: Row, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The gradients beside the CPU's."""
    if found.keys() != wanted.keys():
        return {"gradients": len(found), "gradient_pcc": 0.0, "gradients_off": sorted(found.keys() ^ wanted.keys())}
    correlations = {name: pcc(gradient, wanted[name]) for name, gradient in found.items()}
    low = [name for name, correlation in correlations.items() if not correlation >= LIMIT]
    exact = exact_gradients(row) if low else {}
    off = [name for name in low if not as_good(name, found, wanted, exact)]
    counted = [correlation for name, correlation in correlations.items() if name not in low or name in off]
    return {
        "gradients": len(found),
        "gradient_pcc": round(min(counted, default=1.0), 6),
        "gradients_of_rounding": len(low) - len(off),
        "gradients_off": off[:20],
    }


def exact_gradients(row: Row) -> dict[str, torch.Tensor]:
    """The gradients in float64; none if the model does not run in it."""
    model, default = build(row).double(), torch.get_default_dtype()
    given = tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs(row, 0))
    torch.set_default_dtype(torch.float64)
    try:
        stepped(row, model, given)
    except RuntimeError:
        return {}
    finally:
        torch.set_default_dtype(default)
    return gradients_of(model)


def as_good(
    name: str, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]
) -> bool:
    """Whether the device's gradient is about as near to the exact one as CPU's."""
    if name not in exact:
        return False
    apart, cpus = (float((which[name].double() - exact[name]).norm()) for which in (found, wanted))
    return apart <= _AS_GOOD * cpus


def counted(before: Report, after: Report) -> dict[str, Any]:
    """What one run did, from the reports before and after it."""
    rows: Counter[tuple[str, ...]] = Counter()
    for report, sign in ((after, 1), (before, -1)):
        for row in report.ops:
            rows[row.op, row.placement, row.condition, row.reason, row.got] += sign * row.count
    placed = Counter[str]()
    for key, count in rows.items():
        placed[key[1]] += count
    totals = less(after.totals.model_dump(), before.totals.model_dump())
    transfers = less(after.transfers.model_dump(), before.transfers.model_dump())
    left = [
        {"op": op, "condition": condition, "why": why, "got": got, "count": count}
        for (op, placement, condition, why, got), count in rows.items()
        if placement == "host" and count and not _is_bookkeeping(after, op)
    ]
    calls = less(after.device_calls or {}, before.device_calls or {})
    made = [report.programs.new if report.programs is not None else 0 for report in (before, after)]
    return {
        "aten_calls": sum(placed[name] for name in ("device", "host", "local", "view")),
        "placed": dict(sorted(placed.items())),
        "unique": len({key[0] for key, count in rows.items() if count and key[1] != "decomposed"}),
        "host_float": totals["host_float"],
        "left": sorted(left, key=lambda one: (-one["count"], one["op"], one["got"])),
        "uploads": transfers["uploads"],
        "weight_uploads": transfers["weight_uploads"],
        "downloads": transfers["downloads"],
        "upload_bytes": transfers["upload_bytes"] + transfers["weight_upload_bytes"],
        "download_bytes": transfers["download_bytes"],
        "ttnn_calls": sum(calls.values()),
        "new_programs": made[1] - made[0],
        "first_programs": made[0],
    }


def _is_bookkeeping(report: Report, op: str) -> bool:
    return any(row.op == op and row.is_bookkeeping for row in report.ops)


def less(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The difference of each number."""
    return {name: value - earlier.get(name, 0) for name, value in later.items() if isinstance(value, (int, float))}
