"""safetensors files, whose tensors are mapped into memory: their pages are read when someone looks at them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import WeightsError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class WeightFile:
    """One safetensors file.

    It is mapped twice. What the program writes to its tensors stays in its own mapping, and never gets to the file; the
    device reads from the other one, whose content nobody changes.
    """

    def __init__(self, path: Path):
        self.path = path
        self.identity = identity_of(path)
        try:
            self._programs, self._devices = (safe_open(str(path), framework="pt") for _ in range(2))
            self.names = list(self._programs.keys())
        except SafetensorError as error:
            raise WeightsError(f"{path} is no safetensors file, or not a whole one: {error}") from None

    def programs(self, name: str) -> torch.Tensor:
        """A tensor of the file, for the program to keep and to write to."""
        return self._read(self._programs, name)

    def devices(self, name: str) -> torch.Tensor:
        """A tensor of the file, only to be read."""
        return self._read(self._devices, name)

    def _read(self, opened: Any, name: str) -> torch.Tensor:
        try:
            return opened.get_tensor(name)
        except SafetensorError as error:
            raise WeightsError(f"{self.path}: {name} cannot be read: {error}") from None


@dataclass(frozen=True)
class Stored:
    """One tensor in a file."""

    file: WeightFile
    name: str

    def programs(self) -> torch.Tensor:
        """See `WeightFile.programs`."""
        return self.file.programs(self.name)

    def devices(self) -> torch.Tensor:
        """See `WeightFile.devices`."""
        return self.file.devices(self.name)


def identity_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to or replaced: where it lies, its size and its times."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stored_in(paths: Paths) -> dict[str, Stored]:
    """The tensors of one or several safetensors files, or of the shards that an index (a .json file) lists, by name.

    Raises WeightsError for a file that is not what it should be, and for a tensor that is in two of them.
    """
    each = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    found: dict[str, Stored] = {}
    for path in map(Path, each):
        for name, stored in (_shards(path) if path.suffix == ".json" else _of_file(path)).items():
            if name in found:
                raise WeightsError(f"{name} is in {found[name].file.path} and in {stored.file.path}")
            found[name] = stored
    return found


def _of_file(path: Path) -> dict[str, Stored]:
    file = WeightFile(path)
    return {name: Stored(file, name) for name in file.names}


def _shards(path: Path) -> dict[str, Stored]:
    """What an index says to be in which file, as transformers writes it: {"weight_map": {name: file}}."""
    try:
        read = json.loads(path.read_text())
    except ValueError as error:  # includes a wrong encoding
        raise WeightsError(f"{path} is no JSON: {error}") from None
    files = read.get("weight_map") if isinstance(read, Mapping) else None
    if not isinstance(files, Mapping) or not all(isinstance(file, str) for file in files.values()):
        raise WeightsError(f'{path} is no index of safetensors files: it has no "weight_map" of names and files')
    opened: dict[str, WeightFile] = {}
    for name, file in files.items():
        if Path(file).name != file:
            raise WeightsError(f"{path} names {file!r}; expected the name of a file in its own folder")
        if file not in opened:
            if not (path.parent / file).is_file():
                raise WeightsError(f"{path} names {file}, which is not there")
            opened[file] = WeightFile(path.parent / file)
        if name not in opened[file].names:
            raise WeightsError(f"{path} says that {name} is in {file}, which has no such tensor")
    return {name: Stored(opened[file], name) for name, file in files.items()}
