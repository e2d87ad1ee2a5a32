"""Sums the figures of whole models, and writes docs/models.md and its plot from them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from _zoo import Row

from ttreg.bench.plot import pyplot, save

_PACKAGES = ("torch", "ttnn", "torchvision", "timm", "transformers", "diffusers")

_INTRODUCTION = """\
# Whole models

Written by `make models-table` (`benchmarks/model_table.py`) from `benchmarks/results/model_table.json`; the models
stand in `benchmarks/data/models.json`. Weights are random and seeded, nothing is downloaded. Each model runs in a
process of its own: on CPU, and on the emulated device, whose every ttnn call is also made in real ttnn on a mocked
chip. After one run to warm up, a second one with new inputs is counted.

- *calls*: aten calls of the run. *left*: those with floating-point inputs that the host ran (of how many ops).
- *up*, *down*: transfers. Inputs go up (*in*), outputs come down (*out*); more than these is what the host has to do:
  in training, the optimizer's new parameters, which are the program's own memory.
- *new*: programs that the second run needed and the first had not made.
- *PCC*: the least of the outputs, beside CPU in float32. In training: of the loss, and of all gradients.
  Gradients that only rounding makes, such as that of a bias before a norm, have no PCC to speak of; they are held to be
  about as near to the gradient in float64 as CPU's are.
"""

_OF_SEED = """\
## The models of tenstorrent/pytorch2.0_ttnn

Its published tables, of 2025-11-16, stand at the right: aten calls before and left after lowering, ops that move data
to and from the device, PCC. It ran in bfloat16, traced whole graphs, and ran trained weights, so that counts of calls
are not the same. *–*: it did not run. Models are smaller where the note says so, with the same architecture.
"""

_CURRENT = """\
## Current architectures

As users run them, in eval and with one step of training (AdamW), narrow and of few layers, at small sizes.
"""


def summed(rows: Sequence[Row], known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """All figures, with what to say of them as a whole."""
    models = []
    for row in rows:
        said: dict[str, Any] = {"name": row.name, "mode": row.mode, "table": row.table, "library": row.library}
        said |= {"constructor": row.constructor, "note": row.note, "seed": row.seed}
        models.append(said | known.get(row.key, {"untried": True}))
    return {
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "summary": {
            f"{table} {mode}": summary([m for m in models if m["table"] == table and m["mode"] == mode])
            for table in ("seed", "current")
            for mode in ("eval", "train")
        },
        "models": models,
    }


def summary(models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of models in one mode: how many ran, medians and the worst."""
    ran = [model for model in models if "aten_calls" in model]
    said: dict[str, Any] = {"models": len(models), "ran": len(ran)}
    if not ran:
        return said
    shares = sorted(share_left(model) for model in ran)
    said["median_left"] = statistics.median(model["host_float"] for model in ran)
    said["share_left_95th"] = round(shares[min(int(0.95 * len(shares)), len(shares) - 1)], 5)
    said["least_output_pcc"] = min(model["output_pcc"] for model in ran)
    said["median_output_pcc"] = statistics.median(model["output_pcc"] for model in ran)
    said["new_programs"] = sum(model["new_programs"] for model in ran)
    said["most_resident_bytes"] = max(model["resident"] for model in ran)
    gradients = [model["gradient_pcc"] for model in ran if "gradient_pcc" in model]
    return said | ({"least_gradient_pcc": min(gradients)} if gradients else {})


def share_left(model: Mapping[str, Any]) -> float:
    """Which part of the floating-point calls the host ran."""
    counted = model["placed"].get("device", 0) + model["host_float"]
    return model["host_float"] / counted if counted else 0.0


def page(found: dict[str, Any]) -> str:
    """The page."""
    lines = [_INTRODUCTION, ", ".join(f"{name} {version}" for name, version in found["versions"].items()) + ".\n"]
    lines += ["![calls left on the host, model by model](models-left.svg)\n", *_summaries(found["summary"])]
    for heading, table in ((_OF_SEED, "seed"), (_CURRENT, "current")):
        models = [model for model in found["models"] if model["table"] == table]
        if models:
            lines += [heading, *_table(models, table == "seed"), *_left(models)]
    return "\n".join(lines) + "\n"


def _summaries(found: dict[str, Any]) -> Iterator[str]:
    yield _row("models", "of them ran", "median of calls left", "95th percentile of the share left", "least PCC")
    yield _row("---", "---:", "---:", "---:", "---")
    for name, said in found.items():
        if not said["models"]:
            continue
        ran = f"{said['ran']} of {said['models']}"
        if "median_left" not in said:
            yield _row(name, ran, "", "", "")
            continue
        pcc = f"{said['least_output_pcc']:.5f}"
        pcc += f", gradients {said['least_gradient_pcc']:.5f}" if "least_gradient_pcc" in said else ""
        yield _row(name, ran, f"{said['median_left']:g}", f"{said['share_left_95th']:.2%}", pcc)
    yield ""


def _table(models: Sequence[dict[str, Any]], beside: bool) -> Iterator[str]:
    names = ["model", "calls", "left", "up (in)", "down (out)", "ttnn calls", "new", "PCC", "GiB", "note"]
    theirs = ["calls", "left", "moves", "PCC"] if beside else []
    yield _row(*names, *(f"seed: {name}" for name in theirs))
    yield _row("---", *("---:" for _ in names[2:]), "---", *("---:" for _ in theirs))
    for model in models:
        yield _row(*_cells(model), *(_seeds(model["seed"]) if beside else ()))
    yield ""


def _cells(model: dict[str, Any]) -> list[Any]:
    name = f"{model['name']}, train" if model["mode"] == "train" and "train" not in model["name"] else model["name"]
    if "aten_calls" not in model:
        return [name, *[""] * 8, model.get("error", "not tried yet").replace("|", "\\|")[:160]]
    ops = len({left["op"] for left in model["left"]})
    left = f"{model['host_float']} ({ops})" if model["host_float"] else "0"
    pcc = f"{model['output_pcc']:.5f}"
    if "gradient_pcc" in model:
        pcc += f"; {model['gradients']} gradients {model['gradient_pcc']:.5f}"
    return [
        name,
        model["aten_calls"],
        left,
        f"{model['uploads'] + model['weight_uploads']} ({model['inputs']})",
        f"{model['downloads']} ({model['outputs']})",
        model["ttnn_calls"],
        model["new_programs"],
        pcc,
        f"{model['resident'] / 2**30:.1f}",
        model["note"],
    ]


def _seeds(seed: dict[str, Any]) -> list[Any]:
    if not seed:
        return ["–"] * 4
    before, remaining = seed["before"], seed["remaining"]
    return [
        f"{before['total']} ({before['unique']})",
        "–" if remaining is None else f"{remaining['total']} ({remaining['unique']})",
        "–" if seed["to_from_device"] is None else seed["to_from_device"],
        "–" if seed["pcc"] is None else f"{seed['pcc']:.4f}",
    ]


def _left(models: Sequence[dict[str, Any]]) -> Iterator[str]:
    calls: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for left in model.get("left", []):
            said = left["why"] if left["condition"] in ("", left["why"]) else f"{left['condition']}: {left['why']}"
            calls[left["op"], said] += left["count"]
            where.setdefault((left["op"], said), set()).add(model["name"])
    if not calls:
        return
    yield "What the host ran in these, floating-point or not:\n"
    yield _row("op", "calls", "models", "why")
    yield _row("---", "---:", "---:", "---")
    for (op, why), count in calls.most_common():
        yield _row(f"`{op}`", count, len(where[op, why]), why.replace("|", "\\|")[:200])
    yield ""


def draw(found: dict[str, Any], path: str) -> None:
    """Draw the share of calls that stay on the host, model by model, beside the seed's."""
    plt = pyplot()
    models = [model for model in found["models"] if model["seed"] and "aten_calls" in model]
    models.sort(key=lambda model: -_seed_share(model))
    figure, axes = plt.subplots(figsize=(9, max(3.0, 0.15 * len(models) + 1)))
    places = range(len(models))
    axes.plot([100 * _seed_share(model) for model in models], places, "o", markersize=4, label="seed system")
    axes.plot([100 * share_left(model) for model in models], places, "s", markersize=3, label="ttreg")
    axes.set_yticks(places, [model["name"] for model in models], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("% of the calls left on the host (100: the model did not run)")
    axes.grid(alpha=0.3)
    if models:
        axes.legend()
    save(figure, path)


def _seed_share(model: dict[str, Any]) -> float:
    seed = model["seed"]
    return 1.0 if seed["remaining"] is None else seed["remaining"]["total"] / seed["before"]["total"]


def _row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"
