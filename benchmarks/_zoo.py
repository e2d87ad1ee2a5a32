"""Builds the models of benchmarks/data/models.json: random weights, nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

DATA = Path(__file__).parent / "data" / "models.json"


@dataclass(frozen=True)
class Row:
    """A model of a table: how it is made, its inputs by name or by place, and what the seed system reached."""

    name: str
    mode: str  # "eval" or "train"
    library: str
    constructor: str
    inputs: dict[str, dict[str, Any]]
    config: dict[str, Any] = field(default_factory=dict)
    config_class: str = ""
    note: str = ""
    compared: str = ""  # the part whose outputs are compared, where the model's own depend on which number is larger
    table: str = "seed"
    seed: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identifies the row."""
        return f"{self.name} [{self.mode}]" if self.table == "current" else self.name


def rows(table: str) -> list[Row]:
    """The models of a table; each current one in eval and in training, unless it says otherwise."""
    said = json.loads(DATA.read_text(encoding="utf-8"))[table]
    if table == "seed":
        return [Row(**row) for row in said]
    return [
        Row(**{**row, "table": table, "mode": mode}) for row in said for mode in row.get("mode", "eval train").split()
    ]


def build(row: Row) -> torch.nn.Module:
    """The model, with weights that are seeded."""
    torch.manual_seed(0)
    model = _MAKERS[row.library](row)
    return model.train() if row.mode == "train" else model.eval()


def inputs(row: Row, number: int) -> dict[str, Any]:
    """Its arguments, of the run with that number; names that are digits stand for places."""
    generator = torch.Generator().manual_seed(100 + number)
    return {
        name: _input(said, generator) for name, said in row.inputs.items() if row.mode in said.get("mode", row.mode)
    }


def _input(said: dict[str, Any], generator: torch.Generator) -> Any:
    kind, shape = said["kind"], said.get("shape", [])
    if kind == "tokens":
        return torch.randint(said.get("from", 1), said["below"], shape, generator=generator)
    if kind == "ones":
        return torch.ones(shape, dtype=torch.int64)
    if kind == "bools":
        return torch.randint(2, shape, generator=generator).bool()
    if kind == "images":
        return [torch.rand(shape, generator=generator) for _ in range(said.get("count", 1))]
    if kind == "boxes":  # what a detector is trained on
        target = {
            "boxes": torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 10.0, 60.0, 50.0]]),
            "labels": torch.tensor([1, 2]),
        }
        if said.get("masks"):
            target["masks"] = torch.randint(2, (2, *shape[-2:]), generator=generator, dtype=torch.uint8)
        return [target] * said.get("count", 1)
    if kind == "value":
        return said["value"]
    if kind == "number":
        return torch.tensor(said["value"])
    if kind == "edges":
        return torch.randint(said["below"], (2, shape[0]), generator=generator)
    return torch.randn(shape, generator=generator)


def _torchvision(row: Row) -> torch.nn.Module:
    import torchvision

    home: Any = torchvision.models
    *folder, name = row.constructor.split(".")
    home = getattr(home, folder[0]) if folder else home
    backbone = {"weights_backbone": None} if folder in (["detection"], ["segmentation"]) else {}
    return getattr(home, name)(**{"weights": None, **backbone, **row.config})


def _timm(row: Row) -> torch.nn.Module:
    import timm

    return timm.create_model(row.constructor, pretrained=False, **row.config)


def _transformers(row: Row) -> torch.nn.Module:
    import transformers

    config = {name: _nested(transformers, value) for name, value in row.config.items()}
    made = getattr(transformers, row.config_class)(**config)
    kind = getattr(transformers, row.constructor)
    return kind.from_config(made) if row.constructor.startswith("AutoModel") else kind(made)


def _nested(transformers: Any, value: Any) -> Any:
    if isinstance(value, dict) and "config_class" in value:
        return getattr(transformers, value["config_class"])(**{k: v for k, v in value.items() if k != "config_class"})
    return value


def _diffusers(row: Row) -> torch.nn.Module:
    import diffusers

    return getattr(diffusers, row.constructor)(**row.config)


def _own(row: Row) -> torch.nn.Module:
    import _own_models
    import _own_others

    home = _own_models if hasattr(_own_models, row.constructor) else _own_others
    return getattr(home, row.constructor)(**row.config)


_MAKERS = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
    "diffusers": _diffusers,
    "own code": _own,
}
