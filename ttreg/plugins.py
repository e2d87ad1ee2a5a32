"""Entries of other packages: the modules that installed packages name in the entry-point group `ttreg.ops`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

from .errors import RegistryError
from .settings import plugins_enabled

_log = logging.getLogger(__name__)

GROUP = "ttreg.ops"
_WITHOUT = "TTREG_PLUGINS=0 leaves the entries of all such packages out"


def plugins() -> Iterator[EntryPoint]:
    """The entry points of installed packages; none where TTREG_PLUGINS switches them off.

    Raises RegistryError where the metadata of an installed package cannot be read.
    """
    if not plugins_enabled():
        _log.info("the entries of other packages are left out, as TTREG_PLUGINS says")
        return
    try:
        found = list(entry_points(group=GROUP))
    except Exception as error:  # of whatever type a damaged file leads to
        raise RegistryError(
            f"the entry points of installed packages cannot be read ({type(error).__name__}: {error}); {_WITHOUT}"
        ) from error
    yield from found


def load_plugin(entry_point: EntryPoint) -> None:
    """Import the module that an entry point names. Raises RegistryError, with the package, if that fails."""
    _log.info("loading the entries of %s", entry_point.value)
    try:
        entry_point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an import that leaves the process would leave no trace of why
        package = entry_point.dist.name if entry_point.dist is not None else "unknown"
        raise RegistryError(
            f"the entry point {entry_point.name} = {entry_point.value} (group {GROUP}) of the package {package} "
            f"failed with {type(error).__name__}: {_text(error)}; {_WITHOUT}"
        ) from error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the package's own class fails at that, too
        return "(it has no text)"
