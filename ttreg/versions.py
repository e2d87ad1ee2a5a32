"""The versions of Python, torch and ttnn that ttreg supports: those that it is tested with.

pyproject.toml and the README say the same, which `tests/test_versions.py` holds them to. An older torch or ttnn is
refused when a program first uses a name of ttreg; of a newer one it is warned.
"""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from dataclasses import dataclass

from .errors import VersionError

PYTHONS = ((3, 10), (3, 12))  # those that ttnn has wheels for


@dataclass(frozen=True)
class Supported:
    """The range of a package's versions: from `oldest` to all that begin with `newest`."""

    package: str
    oldest: str
    newest: str

    @property
    def range(self) -> str:
        """As an installer takes it, such as `torch>=2.14,<2.16`."""
        *first, last = _numbers(self.newest)
        return f"{self.package}>={self.oldest},<{'.'.join(map(str, (*first, last + 1)))}"

    def refusal(self, found: str) -> str | None:
        """What is wrong with an installed version that is older than the oldest."""
        numbers, oldest = _numbers(found), _numbers(self.oldest)
        # Those that count zeros alone beyond the oldest are that one: 2.14 is 2.14.0.
        of_the_oldest = numbers[: len(oldest)] == oldest and not any(numbers[len(oldest) :])
        if not numbers or (numbers >= oldest and not (of_the_oldest and _is_early(found))):
            return None
        return f"{self.package} {found} is installed, which is too old: ttreg needs {self._to_do}"

    def warning(self, found: str) -> str | None:
        """What to know of an installed version that is newer than the newest, or that does not begin with a number."""
        numbers, newest = _numbers(found), _numbers(self.newest)
        if numbers and numbers[: len(newest)] <= newest:
            return None
        return (
            f"{self.package} {found} is installed, which ttreg is not tested with: calls may fail, or give other "
            f"values. It is tested with {self._to_do}"
        )

    @property
    def _to_do(self) -> str:
        return f"{self.range} (pip install '{self.range}')"


TORCH = Supported("torch", "2.14", "2.15")
TTNN = Supported("ttnn", "0.81.1", "0.81.1")


def require_torch(found: str) -> None:
    """Raise VersionError if this version of torch is too old; warn if it is newer than those that are tested."""
    _require(TORCH, found)


def require_installed_ttnn() -> None:
    """The same for ttnn, without importing it; nothing if it is not installed, which sessions tell."""
    found = installed(TTNN.package)
    if found is not None:
        _require(TTNN, found)


def installed(package: str) -> str | None:
    """The installed version of a package, from its metadata."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _require(supported: Supported, found: str) -> None:
    refusal = supported.refusal(found)
    if refusal is not None:
        raise VersionError(refusal)
    warning = supported.warning(found)
    if warning is not None:
        warnings.warn(warning, stacklevel=3)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: (2, 15, 0) of `2.15.0a0+git1234`."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


def _is_early(version: str) -> bool:
    """Whether it is an alpha, a beta, a candidate or a development version of what its numbers say."""
    return bool(re.match(r"v?[\d.]*\d[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)", version))
