"""Any PyTorch code on Tenstorrent hardware, op by op: `with ttreg.device_mode() as session: ...`."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .public import *  # noqa: F403

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is the program's to show


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, which `ttreg --help` and the shell's completion do without.
    return getattr(importlib.import_module(".public", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
