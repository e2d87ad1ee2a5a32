"""A folder with weights in the device's form, so that the next program need not prepare them again."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..caches import cache_home, private_folder
from ..pytorch_private import TensorBase
from .files import WeightFile, identity_of

_VERSION = 1  # of what is kept: raised when a value's form changes that its key does not show

# A file that was not finished is left by a process that has ended, after so many seconds.
_UNFINISHED, _LONGEST = ".unfinished-", 3600.0

# File systems tell times in seconds, or in steps of a clock's ticks. A file that was written to that recently may be
# written to again without a change of its times.
_COARSE, _TICKS = 2.0, 0.05

_ROW = 512  # 64-bit words of a file for each word of its checksum

_data_ptr = TensorBase.data_ptr  # a block replaces `Tensor.data_ptr`


class WeightCache:
    """Files named by key and checksum, up to a number of bytes; those that were used longest ago go first.

    Each is written under another name and then renamed, so that nobody finds half of one. What a file has is
    compared with the checksum in its name before anybody reads it.
    """

    def __init__(self, folder: str, most: int):
        self.folder = cache_home() / "weights" if folder == "1" else Path(os.path.abspath(os.path.expanduser(folder)))
        self.most = most
        self._usable: bool | None = None
        self._nbytes: int | None = None  # of all that is kept, as far as this process knows
        self._digests: dict[tuple[int, ...], dict[str, str]] = {}
        self._new_digests: set[tuple[int, ...]] = set()

    @property
    def usable(self) -> bool:
        """Whether there is such a folder, which no other user can change; if not, a warning says why."""
        if self._usable is None:
            try:
                private_folder(self.folder)
                self._usable = True
            except OSError as error:
                self._usable = False
                warnings.warn(f"no weights are kept in {self.folder}: {error}", RuntimeWarning, stacklevel=2)
        return self._usable

    def key(self, *form: Any) -> str:
        """The key of a weight with all that its value depends on."""
        return hashlib.sha256(repr((_VERSION, *form)).encode()).hexdigest()

    def find(self, key: str, suffix: str, load: Callable[[Path], Any]) -> Any:
        """What `load` makes of the file that is kept for a key; None if there is none. A broken one is removed."""
        for path in self._folder_of(key).glob(f"{key}.*{suffix}"):
            try:
                if checksum(path) != path.name.split(".")[1]:
                    raise ValueError("its content is not what was written")
                value = load(path)
                os.utime(path)
                return value
            except FileNotFoundError:  # another process has made room
                continue
            except (OSError, RuntimeError, ValueError) as error:
                warnings.warn(
                    f"{path} is broken ({str(error).partition(chr(10))[0]}); the weight is prepared anew",
                    RuntimeWarning,
                    stacklevel=2,
                )
                path.unlink(missing_ok=True)
        return None

    def keep(self, key: str, suffix: str, save: Callable[[Path], None], load: Callable[[Path], Any]) -> Any:
        """What `load` makes of the file that `save` writes, which is kept; None if it cannot be written."""
        folder = self._folder_of(key)
        path = folder / f"{_UNFINISHED}{os.getpid()}-{uuid.uuid4().hex}{suffix}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            save(path)
            value = load(path)
            nbytes = path.stat().st_size
            if nbytes <= self.most:
                path.replace(folder / f"{key}.{checksum(path)}{suffix}")
                self._grown(nbytes)
            return value
        except (OSError, RuntimeError, ValueError) as error:
            warnings.warn(f"no weights are kept in {self.folder}: {error}", RuntimeWarning, stacklevel=2)
            self._usable = False
            return None
        finally:
            path.unlink(missing_ok=True)

    def digest_of(self, file: WeightFile, name: str, tensor: torch.Tensor) -> str:
        """The hash of a file's tensor, which is kept too: a file that has not changed need not be read for it."""
        digests = self._digests.get(file.identity)
        if digests is None:
            digests = self._digests[file.identity] = self._read_digests(file.identity)
        if name not in digests:
            digests[name] = digest(tensor)
            self._new_digests.add(file.identity)
        return digests[name]

    def write_digests(self, file: WeightFile) -> None:
        """Keep the hashes of a file's tensors, unless it was written to since it was opened, or just before."""
        identity = file.identity
        if identity not in self._new_digests or _just_written(identity):
            return
        self._new_digests.discard(identity)
        path = self._digests_path(identity)
        new = path.with_name(f"{_UNFINISHED}{os.getpid()}-{uuid.uuid4().hex}")
        with contextlib.suppress(OSError):  # the file may be gone, or the disk full
            if identity_of(file.path) != identity:
                return
            path.parent.mkdir(mode=0o700, exist_ok=True)
            new.write_text(json.dumps(self._digests[identity]))
            new.replace(path)

    def _read_digests(self, identity: tuple[int, ...]) -> dict[str, str]:
        path = self._digests_path(identity)
        try:
            read = json.loads(path.read_text())
            os.utime(path)
        except (OSError, ValueError):
            return {}
        entries = read.items() if isinstance(read, dict) else ()
        return {name: value for name, value in entries if isinstance(value, str) and len(value) == 64}

    def _digests_path(self, identity: tuple[int, ...]) -> Path:
        return self.folder / "digests" / f"{hashlib.sha256(repr(identity).encode()).hexdigest()}.json"

    def _folder_of(self, key: str) -> Path:
        return self.folder / key[:2]

    def _grown(self, nbytes: int) -> None:
        self._nbytes = None if self._nbytes is None else self._nbytes + nbytes
        if self._nbytes is not None and self._nbytes <= self.most:
            return
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for used, size, path in files:
            unfinished = path.name.startswith(_UNFINISHED)
            if time.time() - used > _LONGEST if unfinished else total > self.most:
                path.unlink(missing_ok=True)
                total -= size
        self._nbytes = total

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was last used, and its size."""
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                yield found.st_mtime, found.st_size, path


def digest(tensor: torch.Tensor) -> str:
    """The hash of a contiguous tensor's bits."""
    # Not through NumPy, which makes a storage unresizable.
    return hashlib.sha256((ctypes.c_char * tensor.nbytes).from_address(_data_ptr(tensor))).hexdigest()


def checksum(path: Path) -> str:
    """A hash of a file that shows damage, at the speed of memory; it is no proof against who means to deceive."""
    size = path.stat().st_size
    raw = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    whole = max(size - 4, 0) // (8 * _ROW) * (8 * _ROW)
    found = hashlib.sha256(size.to_bytes(8, "little"))
    # Of the upper half of a word, little counts in a product. So it is the lower half of one in the second sum.
    for part in (_sums(raw, 0, whole), _sums(raw, 4, whole), raw[:4], raw[whole:]):
        found.update(part.view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def _sums(raw: torch.Tensor, start: int, size: int) -> torch.Tensor:
    if not size:
        return raw[:0]
    memory = (ctypes.c_char * size).from_address(_data_ptr(raw) + start)
    words = torch.frombuffer(memory, dtype=torch.int64)  # PyTorch's own dtype view must begin at a whole word
    return torch.mv(words.view(-1, _ROW), _weights())


@cache
def _weights() -> torch.Tensor:
    """Odd numbers, the same ones in every program, so that each change of a single word is seen."""
    return torch.arange(1, 2 * _ROW, 2, dtype=torch.int64) * -0x61C8864680B583EB


def _just_written(identity: tuple[int, ...]) -> bool:
    return any(
        time.time() - written / 1e9 < (_TICKS if written % 1_000_000_000 else _COARSE) for written in identity[-2:]
    )
