"""The folder for ttreg's caches, which no other user can change."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import DeviceUnavailableError

# As many links as Linux follows.
_MOST_LINKS = 40


def cache_home() -> Path:
    """The folder for caches: TTREG_CACHE_DIR, or else `ttreg` in XDG_CACHE_HOME or ~/.cache.

    Raises DeviceUnavailableError where the user has no home folder.
    """
    if own := os.environ.get("TTREG_CACHE_DIR"):
        return Path(os.path.abspath(os.path.expanduser(own)))
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # the XDG specification says to ignore a relative one
        return Path(shared) / "ttreg"
    try:
        return Path.home() / ".cache" / "ttreg"
    except RuntimeError as error:
        raise DeviceUnavailableError("no home folder to keep the mocked chip in: set TTREG_CACHE_DIR") from error


def private_folder(path: Path) -> None:
    """Make `path` a folder that this user alone can read and change, and what is missing above it.

    What is in it gets run, so it may not be someone else's. Raises PermissionError where it is, or where another user
    could put a folder of theirs in its place: by a link on the way, or where anybody may rename what is there. Raises
    OSError where the file system refuses.
    """
    _check_way(path)
    for folder in (*reversed(path.parents), path):
        if not os.path.lexists(folder):
            folder.mkdir(mode=0o700, exist_ok=True)  # another process may be first
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{path} belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def _check_way(path: Path, links: int = 0) -> None:
    if links > _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    for folder in (*reversed(path.parents), path):
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(found.st_mode):
            if found.st_uid not in (0, os.geteuid()):
                raise PermissionError(errno.EPERM, f"{folder} is another user's link")
            _check_way(folder.parent / os.readlink(folder), links + 1)
        elif folder != path and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, f"anybody can rename what is in {folder}")
