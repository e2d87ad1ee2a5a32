"""A folder that ttnn takes for its installation, made and mended by any number of processes at once."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from .null_kernel import null_kernel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuntimeRoot:
    """What the folder holds: links and what they point to, programs and their text, both by relative path."""

    links: Mapping[str, str]
    programs: Mapping[str, str]

    def digest(self) -> str:
        """Twelve characters that differ wherever the contents do."""
        contents = repr((sorted(self.links.items()), sorted(self.programs.items())))
        return hashlib.sha256(contents.encode()).hexdigest()[:12]

    def prepare(self, folder: Path) -> None:
        """Make `folder` hold this: as a whole where there is none, entry by entry where there is damage.

        Each change is one rename, so other processes see the state before or after it, and whoever comes
        second finds the contents that it would have written. Raises OSError where the file system refuses.
        """
        make_folder(folder.parent, parents=True)
        if not os.path.lexists(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as staging:
                fresh = Path(staging) / folder.name
                self._mend(fresh)
                try:
                    fresh.rename(folder)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
                        raise
        self._mend(folder)

    def _mend(self, folder: Path) -> None:
        inner = {parent for name in (*self.links, *self.programs) for parent in PurePosixPath(name).parents}
        for parent in sorted(inner):
            make_folder(folder / parent)
        for name, target in self.links.items():
            if _link_target(folder / name) != target:
                _replace(folder / name, partial(os.symlink, target))
        for name, text in self.programs.items():
            if _text(folder / name) != text or not os.access(folder / name, os.X_OK):
                _replace(folder / name, partial(_write_program, text))
            if not os.access(folder / name, os.X_OK):
                raise PermissionError(errno.EACCES, "programs in it may not run (is it mounted noexec?)")


def drop_damaged_kernels(cache: Path) -> None:
    """Remove the kernels in ttnn's cache that a crash or a full disk cut short: ttnn then builds them again.

    ttnn 0.81.1 notices damage to every other file there, but loads a finished kernel as it stands. Those that
    it is just building have a number in their name, and are left alone.
    """
    size = len(null_kernel())
    for folder, _, files in os.walk(cache):
        for name in files:
            if re.fullmatch(r"\w+\.elf", name):
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):
                    if os.path.getsize(path) != size:
                        os.unlink(path)
                        _log.warning("removed a damaged kernel, which ttnn builds again: %s", path)


def make_folder(path: Path, parents: bool = False) -> None:
    """Make `path` a folder, in place of whatever else stands there.

    That may be a link to a folder: what would be written below it might go into the wheel.
    """
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    path.mkdir(mode=0o700, parents=parents, exist_ok=True)


def _link_target(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _write_program(text: str, path: Path) -> None:
    path.write_text(text)
    path.chmod(0o700)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="new-") as staging:
        fresh = Path(staging) / path.name
        write(fresh)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        fresh.replace(path)
