"""The calls of a variations file: one aten call a line, as it occurs in models."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).parent / "data" / "variations.jsonl.xz"

# The published tables say bfloat16 of every tensor that a single-op test made, also where PyTorch takes integers alone.
_TAKEN_AS = {
    ("aten._unsafe_index_put.default", "indices"): "int64",
    ("aten.bitwise_or.Tensor", "other"): "bool",
    ("aten.bitwise_or.Tensor", "self"): "bool",
    ("aten.max_pool2d_with_indices_backward.default", "indices"): "int64",
    ("aten.native_dropout_backward.default", "mask"): "bool",
    ("aten.nll_loss_forward.default", "target"): "int64",
}


@dataclass(frozen=True)
class Line:
    """A line of the file: an op, its arguments as JSON, and what the seed system did with it, if that is known."""

    number: int
    op: str
    args: dict[str, Any]
    seed: str = ""
    models: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identifies the call, wherever it stands in a file."""
        text = json.dumps([self.op, self.args], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """How many elements its tensors have, together."""
        return sum(map(_numel, _tensors(self.args)))

    @property
    def floating(self) -> bool:
        """Whether one of its tensors is of floating point."""
        return any("float" in str(tensor.get("dtype")) for tensor in _tensors(self.args))


def read_lines(path: Path) -> list[Line]:
    """The calls of a file, which may be packed by xz. Raises ValueError for a line that is none."""
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
        return [_line(path, number, text) for number, text in enumerate(lines, 1) if text.strip()]


def _line(path: Path, number: int, text: str) -> Line:
    said = json.loads(text)
    if not isinstance(said, dict) or not isinstance(said.get("op"), str) or not isinstance(said.get("args"), dict):
        raise ValueError(f'{path}, line {number} is no object with "op" and "args"')
    args = {name: _taken_as(_TAKEN_AS.get((said["op"], name)), value) for name, value in said["args"].items()}
    return Line(number, said["op"], args, str(said.get("seed_status", "")), tuple(said.get("models", ())))


def _taken_as(dtype: str | None, said: Any) -> Any:
    if dtype is None:
        return said
    if isinstance(said, list):
        return [_taken_as(dtype, item) for item in said]
    return said | {"dtype": dtype} if isinstance(said, dict) and said.get("dtype") == "bfloat16" else said


def _tensors(said: Any) -> Iterator[dict[str, Any]]:
    if isinstance(said, dict) and "shape" in said:
        yield said
    elif isinstance(said, (dict, list)):
        for item in said.values() if isinstance(said, dict) else said:
            yield from _tensors(item)


def _numel(tensor: dict[str, Any]) -> int:
    count = 1
    for size in tensor["shape"]:
        count *= size
    return count
