"""The folder for ttreg's caches."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import DeviceUnavailableError


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
