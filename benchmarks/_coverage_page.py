"""Sums what became of the calls of a variations file, and writes docs/variations.md from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from _calls import Line

OUTCOMES = ("device", "host", "local", "wrong", "error", "refused")
SEED = ("Done", "Removed", "None", "Fallback", "Unknown")

_INTRODUCTION = """\
# Calls of real models, op by op

Written by `make coverage` (`benchmarks/coverage.py`) from `benchmarks/results/variations.json`. Each line of
`benchmarks/data/variations.jsonl.xz` is one aten call as it occurs in a model: the published tables of
[tenstorrent/pytorch2.0_ttnn](https://github.com/tenstorrent/pytorch2.0_ttnn), which is archived, with what that system
did with it. Here each call is made alone, on seeded values that suit the op: on the emulated device, in real ttnn on a
mocked chip, and on CPU.

- *device*: ttnn took every call that the lowering made, and the results are the CPU's: integers, bools and numbers
  that are moved are equal; else the PCC is at least 0.999 where float32 carries the result, 0.99 where bfloat16 does,
  and the difference is no larger, by the norm, than the noise that such a PCC stands for (or no farther from the result
  in float64 than four times the CPU's own).
- *host*: a condition refused it, or a part of it. *local*: a factory that the device could run, with no input there.
- *wrong*: the results differ. *error*: an exception. *refused*: PyTorch takes no such call, so that no model makes it.
- Beside these, that system's status: *lowered* (Done), *removed* (fused or eliminated), *left* on the host (None,
  Fallback) and *not run* (the model did not run).
"""


def summed(lines: Sequence[Line], records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The counts of each op and of all, and every call that did not run on the device, with why."""
    ops: dict[str, Counter[str]] = {}
    rest, floating, seed, most = [], Counter[str](), Counter[str](), 0
    worst: dict[str, float] = {}
    for line in lines:
        record = records.get(line.key)
        outcome = record["outcome"] if record is not None else "untried"
        counts = ops.setdefault(line.op, Counter())
        counts.update(("calls", outcome, f"seed {line.seed}"))
        floating[outcome] += line.floating
        seed[line.seed] += 1
        if record is None:
            continue
        most = max(most, record.get("resident", 0))
        if record.get("pcc") is not None:
            worst[line.op] = min(record["pcc"], worst.get(line.op, 1.0))
        if outcome != "device":
            rest.append(
                {name: record[name] for name in _KEPT if record.get(name)}
                | {"floating": line.floating, "seed": line.seed}
            )
    totals: Counter[str] = Counter()
    for counts in ops.values():
        totals.update(counts)
    return {
        "totals": {name: totals[name] for name in ("calls", *OUTCOMES, "untried")},
        "floating": {name: floating[name] for name in (*OUTCOMES, "untried")},
        "seed": dict(sorted(seed.items())),
        "versions": {name: metadata.version(name) for name in ("torch", "ttnn")},
        "most_resident_bytes": most,
        "ops": {op: dict(sorted(ops[op].items())) | ({"pcc": worst[op]} if op in worst else {}) for op in sorted(ops)},
        "rest": rest,
    }


_KEPT = ("op", "outcome", "call", "condition", "got", "why", "part")


def page(found: dict[str, Any]) -> str:
    """The page."""
    return "\n".join([_INTRODUCTION, *_totals(found), *_table(found), *_rest(found)]) + "\n"


def _totals(found: dict[str, Any]) -> Iterator[str]:
    totals, floating = found["totals"], found["floating"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    counted = sum(count for outcome, count in floating.items() if outcome not in ("refused", "untried"))
    yield "## Totals\n"
    yield f"{versions}. {totals['calls']} calls: " + ", ".join(f"{totals[name]} {name}" for name in OUTCOMES) + "."
    if totals["untried"]:
        yield f"**{totals['untried']} calls have not been tried yet.**"
    if counted:
        right, share = floating["device"], floating["device"] / counted
        yield f"Of {counted} calls with floating-point inputs, {right} ({share:.2%}) ran on the device with the CPU's"
        yield f"values, {floating['host']} on the host; {floating['wrong']} were wrong, {floating['error']} errors."
    if any(found["seed"].values()) and set(found["seed"]) - {""}:
        off_host = sum(found["seed"].get(name, 0) for name in ("Done", "Removed"))
        yield f"That system lowered or removed {off_host} of the {totals['calls']} ({off_host / totals['calls']:.1%})."
    yield f"The largest call took the worker to {found['most_resident_bytes'] / 2**30:.1f} GiB of resident memory.\n"


def _table(found: dict[str, Any]) -> Iterator[str]:
    yield "## By op\n"
    names = ("op", "calls", *OUTCOMES, "least PCC", "lowered", "removed", "left", "not run")
    yield _row(*names)
    yield _row("---", *("---:" for _ in names[1:]))
    for op, counts in found["ops"].items():
        seed = {name: counts.get(f"seed {name}", 0) for name in SEED}
        pcc = f"{counts['pcc']:.5f}" if "pcc" in counts else ""
        said = (seed["Done"], seed["Removed"], seed["None"] + seed["Fallback"], seed["Unknown"])
        yield _row(f"`{op}`", counts["calls"], *(counts.get(name, "") or "" for name in OUTCOMES), pcc, *said)
    yield ""


def _rest(found: dict[str, Any]) -> Iterator[str]:
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for call in found["rest"]:
        why = call.get("why") or call.get("condition", "")
        groups.setdefault((call["outcome"], call["op"], call.get("condition", ""), why), []).append(call)
    if not groups:
        return
    yield "## What is not on the device, and why\n"
    yield _row("outcome", "op", "calls", "why", "for example")
    yield _row("---", "---", "---:", "---", "---")
    for (outcome, op, condition, why), calls in sorted(groups.items(), key=lambda group: _order(group[0])):
        said = why if not condition or condition in why else f"{condition}: {why}"
        yield _row(outcome, f"`{op}`", len(calls), _cell(said), f"`{_cell(calls[0].get('call', ''))}`")
    yield ""


def _order(group: tuple[str, str, str, str]) -> tuple[int, str, str]:
    outcome, op, _, why = group
    return ("wrong", "error", "host", "local", "refused").index(outcome), op, why


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:300]


def _row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"
