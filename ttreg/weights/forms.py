"""In which ttnn dtype the device is to carry each weight: by the first pattern that its name matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ..errors import WeightsError

# Those that ttnn's products take weights in, beside activations in either of the first two.
CARRIED_IN = ("float32", "bfloat16", "bfloat8_b", "bfloat4_b")


def dtypes_by_name(names: Iterable[str], dtypes: Mapping[str, str | None]) -> dict[str, str | None]:
    """The dtype of each name that a pattern matches; the first pattern counts. None stands for the weight's own dtype.

    Raises WeightsError for an unknown dtype, and for a pattern that matches no name.
    """
    names = list(names)
    for pattern, dtype in dtypes.items():
        if dtype is not None and dtype not in CARRIED_IN:
            known = ", ".join(map(repr, CARRIED_IN))
            raise WeightsError(f"dtypes[{pattern!r}] is {dtype!r}; expected one of {known}, or None")
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise WeightsError(f"dtypes: {pattern!r} matches none of the model's parameters ({some})")
    found: dict[str, str | None] = {}
    for name in names:
        matching = [dtype for pattern, dtype in dtypes.items() if fnmatchcase(name, pattern)]
        if matching:
            found[name] = matching[0]
    return found
